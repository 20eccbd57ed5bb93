"""What ``adaptrt tune`` measured, as records of the report."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class BlockRecord:
    """A block of ``adaptrt tune``: the error of the outputs if it alone is in int8 or fp16 (``None``: not measured), relative to
    how much they vary; ``precision`` is what the recipe gives it. ``operations``: its share of all."""

    name: str
    layers: int
    nodes: int
    operations: float
    int8: float | None
    fp16: float | None
    precision: str


@dataclass
class PointRecord:
    """A configuration that was measured: names of the ``kept`` blocks, its ``loss`` in points, and its ``cost``, operations
    weighted by precision, relative to fp16. ``confidence``: points of the mean confidence in the right answers that are lost,
    for scores that count images as right or wrong; the larger of both is judged. ``chosen``: it is the recipe."""

    title: str
    precision: str
    kept: list[str]
    loss: float
    cost: float
    chosen: bool = False
    milliseconds: float | None = None
    confidence: float | None = None

    @property
    def judged(self) -> float:
        """The loss that the limit applies to."""
        return self.loss if self.confidence is None else max(self.loss, self.confidence)


@dataclass
class Tuning:
    """What ``adaptrt tune`` measured. ``loss_of`` says what ``loss`` counts, ``cost_of`` what ``cost`` stands for;
    ``holds``: whether the limit is met."""

    limit: float
    holds: bool
    loss_of: str
    cost_of: str
    images: int
    blocks: list[BlockRecord] = field(default_factory=list)
    points: list[PointRecord] = field(default_factory=list)
    recipe: str = ""
