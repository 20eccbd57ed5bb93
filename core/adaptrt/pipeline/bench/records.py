"""What ``adaptrt bench`` measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

from adaptrt.json_text import json_text

DRIFT = 0.05
"""A change from the first to the last third of the turns that is reported."""


@dataclass(frozen=True)
class Peak:
    """What the hardware does at most: operations per second (float32 on a CPU), bytes per second, and how that is known."""

    operations: float
    bytes: float
    source: str


@dataclass(frozen=True)
class Measured:
    """Milliseconds of one kind of call. ``turns``: the median of each turn. ``per_second``: images, over all threads."""

    p50: float
    p90: float
    p99: float
    calls: int
    per_second: float
    turns: tuple[float, ...]

    @property
    def drift(self) -> float:
        """The change from the first third of the turns to the last, as a fraction; 0 with fewer than 6 turns."""
        from statistics import median

        first, last = self._thirds()
        return median(last) / median(first) - 1 if first else 0.0

    @property
    def drifts(self) -> bool:
        """Whether the change is above ``DRIFT``, and the thirds do not overlap."""
        first, last = self._thirds()
        apart = bool(first) and (min(last) > max(first) or max(last) < min(first))
        return apart and abs(self.drift) > DRIFT

    def _thirds(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        third = len(self.turns) // 3
        return (self.turns[:third], self.turns[-third:]) if third > 1 else ((), ())


@dataclass
class Row:
    """A form with one batch size and number of threads.

    ``call``: ``model(images)`` on decoded images; ``None`` without pre- and postprocessing. ``file``: the file alone, on arrays in host
    memory; ``device``: in the memory of a GPU, if it runs there.
    ``preprocess`` and ``postprocess``: their medians within the call, milliseconds.
    ``operations`` and bytes of one run; ``None`` if unknown. ``limit``: milliseconds that the hardware needs at least for
    one run, ``limited_by`` arithmetic or memory.
    """

    form: str
    batch: int
    threads: int
    file: Measured
    call: Measured | None = None
    device: Measured | None = None
    preprocess: float | None = None
    postprocess: float | None = None
    operations: float | None = None
    least_bytes: float | None = None
    node_bytes: float | None = None
    limit: float | None = None
    limited_by: str = ""

    @property
    def limit_share(self) -> float | None:
        """The least time divided by the median of the file alone, on the device if it runs there; with several threads not defined."""
        return None if self.limit is None or self.threads > 1 else self.limit / (self.device or self.file).p50

    def measured(self) -> Iterator[tuple[str, Measured]]:
        """What was measured, with its name, from the most to the least."""
        for what, times in (("call", self.call), ("file alone", self.file), ("on device", self.device)):
            if times is not None:
                yield what, times


@dataclass(frozen=True)
class Form:
    """A file as it was opened. ``work``: the ONNX file that its operations are counted from, or why they are unknown."""

    name: str
    path: str
    backend: str
    on_cpu: bool
    work: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """A form compared with the baseline: ``ratio`` is the median over the turns, ``low`` and ``high`` are its quartiles."""

    form: str
    baseline: str
    what: str
    batch: int
    threads: int
    ratio: float
    low: float
    high: float
    baseline_ms: float
    form_ms: float

    @property
    def slower(self) -> float:
        """How much slower than the baseline, as a fraction; negative: faster."""
        return self.ratio - 1


@dataclass(frozen=True)
class Reading:
    """A sensor of the GPU over the run; ``first`` and ``last`` are medians of the first and last third of the samples."""

    name: str
    unit: str
    low: float
    median: float
    high: float
    first: float
    last: float


@dataclass
class Benchmark:
    """``rows`` by batch and threads, in the order of the files. ``comparisons`` with the first file.

    ``gpu_peak``: the one that was given; ``gpu_peaks``: those that were measured, by precision.
    """

    forms: list[Form] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    image: str = ""
    machine: dict[str, str] = field(default_factory=dict)
    gpu: list[Reading] = field(default_factory=list)
    cpu_peak: Peak | None = None
    gpu_peak: Peak | None = None
    gpu_peaks: dict[str, Peak] = field(default_factory=dict)
    turns: int = 0
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    command: str = ""
    version: int = 1

    def regressions(self, limit: float) -> list[Comparison]:
        """The comparisons in which a form is slower than the baseline by more than ``limit``, a fraction."""
        return [one for one in self.comparisons if one.slower > limit]

    def peaks(self) -> list[tuple[str, Peak]]:
        """All that are known, with titles: ``GPU, fp16``."""
        given = [("CPU", self.cpu_peak), ("GPU", self.gpu_peak)]
        known = [(title, peak) for title, peak in given if peak is not None]
        return known + [(f"GPU, {precision}", peak) for precision, peak in self.gpu_peaks.items()]

    def to_json(self) -> str:
        content = asdict(self)
        for data, row in zip(content["rows"], self.rows, strict=True):
            data["limit_share"] = row.limit_share
            for name in ("call", "file", "device"):
                measured: Measured | None = getattr(row, name)
                if measured is not None:
                    data[name] |= {"drift": measured.drift, "drifts": measured.drifts}
        for data, one in zip(content["comparisons"], self.comparisons, strict=True):
            data["slower"] = one.slower
        return json_text(content, indent=2)


def compared(what: str, baseline: Row, row: Row, first: Measured, second: Measured) -> Comparison:
    """By the ratio of each turn: both were measured within it, so that a drifting machine affects both."""
    from statistics import median

    ratios = [b / a for a, b in zip(first.turns, second.turns, strict=True)]
    low, high = _quartiles(ratios)
    return Comparison(
        row.form, baseline.form, what, row.batch, row.threads, median(ratios), low, high, first.p50, second.p50
    )


def _quartiles(values: Sequence[float]) -> tuple[float, float]:
    if len(values) < 2:
        return values[0], values[0]
    from statistics import quantiles

    low, _, high = quantiles(values, n=4, method="inclusive")
    return low, high
