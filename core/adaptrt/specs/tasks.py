"""What a model predicts: the protocol of tasks, and how they are found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from adaptrt.specs.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from adaptrt.contributions import Metric
    from adaptrt.specs.model import ModelSpec
    from adaptrt.specs.precisions import Precision

    Image = NDArray[np.uint8]


class Scorer(Protocol):
    """Collects predictions of one backend; ``scores`` lie between 0 and 1, the main one first.

    ``per_class`` may be empty; ``records`` are the predictions in the task's exchange format.
    """

    def add(self, truth: Any, prediction: Any) -> None: ...

    def scores(self) -> dict[str, float]: ...

    def per_class(self) -> dict[str, dict[str, float]]: ...

    def records(self) -> list[dict[str, Any]]: ...


@runtime_checkable
class Task(Protocol):
    """One kind of prediction. Found by name under the entry-point group ``adaptrt.tasks``.

    ``prediction`` is the type of its predictions, a frozen dataclass of ``adaptrt.predictions`` or of the distribution
    that brings the task. Everything heavy (cv2, scorers) is imported inside the methods.
    """

    name: str
    prediction: type[Any]

    def draw(self, image: Image, prediction: Any) -> Image:
        """A copy of the image, uint8 [H, W, 3] RGB, with the prediction on it."""
        ...

    def describe(self, prediction: Any) -> str:
        """What was found, in a few words: the line of a terminal."""
        ...

    def is_empty(self, prediction: Any) -> bool:
        """Whether nothing was found, so that agreement on it proves nothing."""
        ...

    def record(self, prediction: Any) -> dict[str, Any]:
        """The prediction as JSON data: what reports hold and ``predict --json`` prints."""
        ...

    def read_record(self, record: Mapping[str, Any]) -> Any:
        """The prediction of a record; a ``ModelError`` if it is not one of this task's."""
        ...

    def export(self, format: str, predictions: Sequence[tuple[Path, Any]], spec: ModelSpec) -> Mapping[str, str]:  # noqa: A002
        """Files in a format (``coco``, ``txt``, ``csv``), by name, with their text; a ``UsageError`` lists the formats."""
        ...

    def metrics(self, spec: ModelSpec, precision: Precision) -> list[Metric]:
        """How well predictions agree (links 0 and 5), as strict as the precision allows; none: nothing is compared."""
        ...

    def problems(self, prediction: Any, spec: ModelSpec, size: tuple[int, int]) -> list[str]:
        """What is wrong with a prediction for an image of this size (height, width): for the contract of adapters."""
        ...

    def read_dataset(self, data: Path, spec: ModelSpec, images: Path | None) -> Any:
        """Labeled images; a ``UsageError`` where this task cannot be evaluated."""
        ...

    def scorer(self, spec: ModelSpec, dataset: Any) -> Scorer:
        """A scorer that starts counting; a ``DependencyError`` where scores cannot be counted."""
        ...


TASKS: Registry[Task] = Registry("adaptrt.tasks", "task", Task)


def task_named(name: str) -> Task:
    """The task of this name; a ``UsageError`` lists those that there are."""
    return TASKS.find(name)
