"""What each task brings to an evaluation: how its images are labelled, and how predictions are scored."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from adaptrt.errors import UsageError

if TYPE_CHECKING:
    from adaptrt.predictions import Predictions
    from adaptrt.specs import ModelSpec

_MODULES = {"classify": "adaptrt.evaluation.classification", "detect": "adaptrt.evaluation.detection"}


@dataclass(frozen=True)
class Example:
    """An image and what is in it, in the task's own terms."""

    path: Path
    truth: Any


@dataclass(frozen=True)
class Dataset:
    """Labelled images; ``notes`` say what was assumed about the labels, ``context`` is what the scorer needs."""

    examples: tuple[Example, ...]
    notes: tuple[str, ...] = ()
    context: Any = None


class Scorer(Protocol):
    """Collects predictions of one backend; ``scores`` lie between 0 and 1, the one that counts first.

    ``per_class`` may be empty; ``records`` are the predictions in the task's exchange format.
    """

    def add(self, truth: Any, prediction: Predictions) -> None: ...

    def scores(self) -> dict[str, float]: ...

    def per_class(self) -> dict[str, dict[str, float]]: ...

    def records(self) -> list[dict[str, Any]]: ...


@dataclass(frozen=True)
class EvaluationTask:
    """One task.

    ``read(data, spec, images)`` finds the labelled images, ``scorer(spec, dataset)`` starts counting, ``params(spec)`` are
    decoder parameters that scoring needs, and ``answer(prediction)`` is what two backends have to agree on.
    ``require_scoring()`` raises a ``DependencyError`` where scores cannot be counted, before anything is predicted.
    """

    read: Callable[[Path, ModelSpec, Path | None], Dataset]
    scorer: Callable[[ModelSpec, Dataset], Scorer]
    answer: Callable[[Predictions], Any]
    params: Callable[[ModelSpec], Mapping[str, Any]] = field(default=lambda spec: {})  # noqa: ARG005
    require_scoring: Callable[[], None] = field(default=lambda: None)


def find_task(spec: ModelSpec) -> EvaluationTask:
    if spec.task not in _MODULES:
        raise UsageError(
            f"Models of task {spec.task!r} cannot be evaluated.", hint=f"Can be: {', '.join(sorted(_MODULES))}."
        )
    task: EvaluationTask = importlib.import_module(_MODULES[spec.task]).TASK
    return task
