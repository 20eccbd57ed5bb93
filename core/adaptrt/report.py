"""What a conversion did and verified: the schema of ``report.json``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from adaptrt.errors import AdaptrtError, ModelError, PluginError
from adaptrt.json_text import formatted_json
from adaptrt.report_versions import upgrade_report
from adaptrt.specs import ModelSpec
from adaptrt.specs.tuning import Tuning

Status = Literal["passed", "failed", "not run"]
CheckKind = Literal["samples", "held back", "batch", "file", "metric", "same graph"]
Severity = Literal["error", "warning", "info"]
Word = Literal["verified", "partly verified", "not verified"]

LINKS = {
    0: "framework predictions vs. adaptrt predictions",
    1: "patched model vs. original",
    2: "ONNX Runtime vs. reference",
    3: "reduced-precision graph vs. reference",
    4: "engine vs. reference",
    5: "converted predictions vs. reference predictions",
}


@dataclass
class Stage:
    """One stage of a conversion; ``verifying`` marks time spent on verification, not on conversion."""

    name: str
    seconds: float = 0.0
    note: str = ""
    verifying: bool = False


@dataclass
class Check:
    """One comparison: a group of one output, or a metric over predictions.

    ``value`` must be at most ``limit``, or at least ``limit`` if ``higher_is_better``. ``reason`` explains the limit.
    A value that is infinite or NaN is ``null`` in JSON, and infinite when read.

    ``artifact`` names the compared file, if a link compares several. ``kind`` is what was compared:

    - ``samples``: each sample alone
    - ``held back``: rows of the calibration set that were not used for calibration
    - ``batch``: samples or images in a batch
    - ``file``: the reduced-precision file itself in ONNX Runtime
    - ``metric``: predictions, by a metric
    - ``same graph``: predictions of a built file and of the same graph in ONNX Runtime, by a metric

    Limits follow the scale of each channel: ``value`` and ``limit`` are those of the element that is closest to its
    limit; ``allows`` is the largest difference of any element that would still pass. ``widened`` is the factor by which the
    limits were multiplied because the model's own rounding errors exceed them (1: not widened).
    ``ignored`` is the fraction of integers that differ and do not count, since rounding decides them.
    ``detail`` describes the difference if a check fails.
    """

    name: str
    unit: str
    value: float
    limit: float | None
    passed: bool
    reason: str = ""
    mean: float | None = None
    samples: int = 0
    higher_is_better: bool = False
    kind: CheckKind = "samples"
    artifact: str = ""
    allows: float | None = None
    detail: str = ""
    widened: float = 1.0
    ignored: float = 0.0

    @property
    def title(self) -> str:
        """The name, extended by kind and artifact."""
        return f"{self.artifact and f'{self.artifact}: '}{self.name}{_KIND_TITLES[self.kind]}"


_KIND_TITLES: dict[CheckKind, str] = {
    "samples": "",
    "held back": " on rows held back",
    "batch": " in a batch",
    "file": " (the file in ONNX Runtime)",
    "metric": "",
    "same graph": " vs. the Q/DQ graph",
}


@dataclass
class Link:
    """One of the six links between the untouched model and the result.

    ``shortcoming``: why a link that passed is less than a verification (too few images, no labels).
    """

    number: int
    name: str
    status: Status = "not run"
    reason: str = ""
    checks: list[Check] = field(default_factory=list)
    shortcoming: str = ""


@dataclass
class PatchRecord:
    """A patch that was active. ``tested``: the versions it was tested with; ``untested``: the installed version if it is
    not one of them."""

    target: str
    kind: str
    reason: str
    requires: str
    plugin: str
    calls: int
    link: str = ""
    tested: str = ""
    untested: str = ""


@dataclass
class PassRecord:
    name: str
    reason: str
    plugin: str
    nodes_before: int
    nodes_after: int
    seconds: float
    note: str = ""


@dataclass
class PredictionRecord:
    """What one form of the model found in an image: as text, and as the data that its task records (``Task.record``)."""

    task: str
    found: str = ""
    data: dict[str, Any] = field(default_factory=dict)


@dataclass
class ImageRecord:
    """A real image, and what each backend found in it (``framework``, ``eager``, ``onnxruntime``, ``tensorrt``)."""

    path: str
    predictions: dict[str, PredictionRecord] = field(default_factory=dict)


@dataclass
class Verdict:
    """To what extent a file was verified to match the model.

    - ``verified``: every link that applies to it passed, on samples that exercise its outputs
    - ``partly verified``: all links that ran passed; ``missing`` lists what did not run or was not exercised
    - ``not verified``: nothing was compared
    """

    word: Word
    missing: list[str] = field(default_factory=list)


@dataclass
class FileRecord:
    """A file that was written; one that holds the model has a ``verdict``. ``runs``: whether its backend can run it, as far as is known."""

    path: str
    bytes: int
    sha256: str
    verdict: Verdict | None = None
    runs: bool = True


@dataclass
class Exercise:
    """How much an output (or a group of it) varies over the samples: ``ratio`` is its largest variation divided by its
    limit. An output that does not vary would agree with any constant. ``reduced`` is the same for the limit of the reduced
    precision, if outputs are compared in one."""

    name: str
    ratio: float
    reduced: float | None = None


@dataclass
class ArtifactRecord:
    """A file that a backend built, by its name in ``Report.files``: ``status``, ``reason`` and ``shortcoming`` are its part of
    link 4.

    The rest is what the backend reports of it: ``summary`` in a sentence, ``facts`` by title, ``layers`` by the precision
    they compute in, ``messages`` of its builder, and ``record``, its own data.
    """

    name: str
    backend: str
    precision: str
    status: Status = "not run"
    reason: str = ""
    summary: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    layers: dict[str, int] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    record: Any = None
    shortcoming: str = ""


@dataclass
class SourceLocation:
    """A line of Python, and the number of nodes it created; ``file`` is relative to site-packages or to the folder of the
    conversion.
    """

    file: str
    line: int
    code: str = ""
    count: int = 1


@dataclass
class Finding:
    """What the graph check, or the export itself, found in the model's code. ``rule`` is the name of the rule;
    ``operator`` is empty if no operator is concerned. The ``number`` in reports of older versions is ignored.

    ``exercised``: whether the samples reached another value or branch than tracing did, so that link 2 compared both;
    ``None`` if the question does not arise. A result with a finding that is ``False`` is at most partly verified."""

    rule: str
    severity: Severity
    operator: str
    count: int
    message: str
    advice: str
    places: list[SourceLocation] = field(default_factory=list)
    exercised: bool | None = None


@dataclass
class Failure:
    """``command`` finds the first tensor that differs, after a failed link 2, 3 or 4; ``comparison``: what ``--diagnose``
    found, as ``adaptrt compare --json`` prints it."""

    kind: str
    message: str
    hint: str | None
    stage: str
    command: str = ""
    comparison: dict[str, Any] | None = None


@dataclass
class Report:
    """Everything about one conversion. ``operators`` maps a stage of the graph to its count of each operator;
    ``cached`` is the time of the earlier conversion that the results were taken from. ``source``, ``weights`` and
    ``options`` (``--set``) record what was converted; nothing is loaded from them, since a report is untrusted.
    ``verdict`` is that of the least verified file; ``None`` in reports of failures and of older versions.
    ``conversion``: a TOML file that repeats the conversion (``--config``); empty for builds and failures.
    ``tuning``: what ``adaptrt tune`` measured. ``files`` are the models that were written: ``onnx``, ``reduced`` (the graph in
    reduced precision), and those of backends by their names. ``reports``: the files of this report, the page first."""

    adapter: str
    source: str
    command: str
    status: Literal["running", "passed", "failed"] = "running"
    spec: ModelSpec | None = None
    exporter: str = ""
    opset: int = 0
    stages: list[Stage] = field(default_factory=list)
    links: list[Link] = field(default_factory=lambda: [Link(number, name) for number, name in LINKS.items()])
    patches: list[PatchRecord] = field(default_factory=list)
    passes: list[PassRecord] = field(default_factory=list)
    operators: dict[str, dict[str, int]] = field(default_factory=dict)
    files: dict[str, FileRecord] = field(default_factory=dict)
    plugins: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failure: Failure | None = None
    images: list[ImageRecord] = field(default_factory=list)
    artifacts: list[ArtifactRecord] = field(default_factory=list)
    cached: str = ""
    weights: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    exercise: list[Exercise] = field(default_factory=list)
    verdict: Verdict | None = None
    conversion: str = ""
    tuning: Tuning | None = None
    reports: list[str] = field(default_factory=list)
    version: int = 3

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Former names that plugins may still use."""
            if name == "engine":
                raise PluginError("report.engine was moved to report.artifacts.", hint="Update the plugin.")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def link(self, number: int) -> Link:
        return self.links[number]

    @property
    def onnx(self) -> Path | None:
        """The ONNX file that was written, if one was."""
        return Path(self.files["onnx"].path) if "onnx" in self.files else None

    @property
    def seconds(self) -> float:
        return sum(stage.seconds for stage in self.stages)

    def to_json(self) -> str:
        return formatted_json(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Report:
        """Read a report of any version; a ``ModelError`` names the invalid field."""
        import msgspec

        try:
            raw = msgspec.json.decode(text)
            version = raw.get("version", 1) if isinstance(raw, dict) else 1
            if isinstance(version, int) and version > cls.version:
                raise ModelError(
                    f"The report has version {version}; this version of adaptrt reads up to {cls.version}.",
                    hint="Update: pip install -U adaptrt",
                )
            return msgspec.convert(upgrade_report(raw), cls)
        except ModelError:
            raise
        except (msgspec.DecodeError, UnicodeError, RecursionError, AdaptrtError) as error:
            raise ModelError(f"The report cannot be read: {error}.") from error
