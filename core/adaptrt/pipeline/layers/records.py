"""The result of comparing the tensors of several forms of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from adaptrt.json_text import formatted_json
from adaptrt.report import SourceLocation
from adaptrt.specs.versions import entries

_FIGURES = ("max", "mean", "relative", "cosine", "limit", "used")


@dataclass
class TensorRow:
    """A tensor in both forms. ``reference``: its name in the first form, if that is another one.

    ``max``, ``mean``, ``relative`` (Euclidean norm of the difference divided by that of the reference) and ``cosine`` are
    those of the sample with the largest ``used``: the share of its limit that the worst element uses, above 1 beyond it.
    ``output``: it is an output of the file. ``order``: its position in the graph.
    """

    name: str
    order: int
    operator: str = ""
    node: str = ""
    module: str = ""
    source: SourceLocation | None = None
    reference: str = ""
    output: bool = False
    shape: tuple[int, ...] = ()
    max: float = 0.0
    mean: float = 0.0
    relative: float = 0.0
    cosine: float = 1.0
    limit: float = 0.0
    used: float = 0.0
    reason: str = ""

    @property
    def passed(self) -> bool:
        return self.used <= 1.0


@dataclass
class PairComparison:
    """One form compared with the first. ``rows`` are in the order of the graph.

    ``aligned``: how many tensors exist in both, of the ``tensors`` that the graph computes; ``search``: ``all``, ``bisect``, or
    ``named``; ``builds``: how many files were built to read internal tensors.
    """

    reference: str
    subject: str
    precision: str
    search: str
    rows: list[TensorRow] = field(default_factory=list)
    aligned: int = 0
    tensors: int = 0
    builds: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def first(self) -> TensorRow | None:
        """The first tensor in the order of the graph that is beyond its limit."""
        return next((row for row in self.rows if not row.passed), None)

    @property
    def outputs_agree(self) -> bool:
        return all(row.passed for row in self.rows if row.output)


@dataclass
class LayerComparison:
    """All pairs. ``inputs`` says what the forms were run on."""

    inputs: str
    pairs: list[PairComparison] = field(default_factory=list)
    command: str = ""
    version: int = 1

    @property
    def outputs_agree(self) -> bool:
        return all(pair.outputs_agree for pair in self.pairs)

    def to_json(self) -> str:
        """As JSON, in which a value that is infinite or NaN is ``null``."""
        return formatted_json(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> LayerComparison:
        """Read a comparison that was saved; a ``ModelError`` says what is invalid."""
        import msgspec

        from adaptrt.errors import ModelError

        try:
            raw = msgspec.json.decode(text)
            for pair in entries(raw, "pairs"):
                for row in entries(pair, "rows"):
                    row.update({key: float("inf") for key in _FIGURES if key in row and row[key] is None})
            return msgspec.convert(raw, cls)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise ModelError(
                f"The comparison cannot be read: {error}.",
                hint="Write it again: adaptrt compare ... --json > layers.json",
            ) from error


def in_graph_order(rows: Sequence[TensorRow]) -> list[TensorRow]:
    return sorted(rows, key=lambda row: row.order)
