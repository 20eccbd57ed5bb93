"""Results of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class BackendResult:
    """One backend on all images.

    ``scores`` lie between 0 and 1, higher is better. ``same`` is the share of images with the same answer as the first
    backend does. ``per_class``: of each class, how much there is of it and its scores, where
    the task has them. ``figures`` are numbers that are not shares: the ``loss`` of a classifier, its mean cross entropy, and
    the ``max difference`` of a score of any class and image from the first backend. ``seconds`` are those of reading the files, preprocessing, running and postprocessing.
    """

    backend: str
    file: str
    scores: dict[str, float] = field(default_factory=dict)
    per_class: dict[str, dict[str, float]] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    same: float | None = None
    images: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def images_per_second(self) -> float:
        """From file to prediction."""
        return self.images / max(sum(self.seconds.values()), 1e-9)

    @property
    def runs_per_second(self) -> float:
        """Images per second of the model alone."""
        return self.images / max(self.seconds.get("run", 0.0), 1e-9)


@dataclass
class Evaluation:
    """All backends on the same images, in the requested order; ``notes`` list what was skipped or assumed."""

    data: str
    task: str
    images: int
    batch: int
    results: list[BackendResult] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def losses(self) -> dict[str, float]:
        """For each later result, how far its first score lies below that of the first one, in points of 100."""
        first, *others = self.results
        if not first.scores:
            return {}
        name = next(iter(first.scores))
        return {f"{other.backend} {other.file}": 100 * (first.scores[name] - other.scores[name]) for other in others}
