"""Tasks, that is, what a model predicts: their type, and how they are found."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, runtime_checkable

from adaptrt.errors import UsageError, did_you_mean
from adaptrt.specs.registry import Registry
from adaptrt.specs.task_results import TASK, check_results, checked_files, checked_scorer, is_a, wrap_method
from adaptrt.spread import spread

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from adaptrt.contributions import Metric
    from adaptrt.specs.model import ModelSpec
    from adaptrt.specs.precisions import Precision

    Image = NDArray[np.uint8]

P = TypeVar("P")
Q = TypeVar("Q", contravariant=True)


@dataclass(frozen=True)
class Example:
    """An image and its label, in a form that the task defines."""

    path: Path
    truth: Any


@dataclass(frozen=True)
class Dataset:
    """Labeled images; ``notes`` state assumptions about the labels, ``context`` is additional data for the scorer."""

    examples: tuple[Example, ...]
    notes: tuple[str, ...] = ()
    context: Any = None

    def limited(self, limit: int | None) -> Dataset:
        """At most ``limit`` of the examples, spread evenly."""
        if limit is None or limit >= len(self.examples):
            return self
        return replace(self, examples=tuple(spread(self.examples, limit)))


class Scorer(Protocol[Q]):
    """Collects the predictions of one backend."""

    def add(self, truth: Any, prediction: Q) -> None:
        """One prediction, and the ``truth`` of its example."""
        ...

    def scores(self) -> dict[str, float]:
        """Scores between 0 and 1, the main one first."""
        ...

    def per_class(self) -> dict[str, dict[str, float]]:
        """By class: its number of objects or pixels, then scores, the main one first. May be empty."""
        ...

    def records(self) -> list[dict[str, Any]]:
        """The predictions in the task's exchange format, as JSON data."""
        ...


@runtime_checkable
class HasFigures(Protocol):
    """A scorer that also returns numbers that are not scores between 0 and 1, such as a loss."""

    def figures(self) -> dict[str, float]:
        """By name."""
        ...


class Scoring(ABC, Generic[P]):
    """How models of a task are evaluated.

    ``layout`` briefly describes what ``--data`` and ``--images`` name.
    """

    layout: str

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_results(cls, {"read_dataset": ("a Dataset", is_a(Dataset)), "params": ("a dict", is_a(Mapping))})
        wrap_method(cls, "scorer", checked_scorer)

    @abstractmethod
    def read_dataset(self, data: Path, spec: ModelSpec, images: Path | None) -> Dataset:
        """The labeled images; a ``UsageError`` if they do not match ``layout``."""

    @abstractmethod
    def scorer(self, spec: ModelSpec, dataset: Dataset) -> Scorer[P]:
        """A new, empty scorer."""

    def answer(self, prediction: P) -> Any:
        """The part of a prediction that two backends must agree on, comparable with ``==``; ``None``: agreement is not measured."""
        return None

    def values(self, prediction: P) -> NDArray[np.float32] | None:
        """The numbers of a prediction whose largest difference between two backends is shown; ``None``: it is not.

        For all predictions of one image they have the same shape.
        """
        return None

    def confidence(self, truth: Any, prediction: P) -> float | None:
        """The score between 0 and 1 that a prediction assigns to the correct class; ``None``: there is no single one.

        Needed for metrics that count an image as right or wrong: lost confidence shows on every image, a wrong class on few.
        """
        return None

    def params(self, spec: ModelSpec) -> Mapping[str, Any]:
        """Decoder parameters that scoring needs."""
        return {}

    def require(self) -> None:
        """Raise a ``DependencyError`` if scores cannot be computed, before anything is predicted."""
        return


@dataclass(frozen=True)
class Found(Generic[P]):
    """A prediction to export. ``name`` is unique among those exported together; ``size`` is (height, width), pixels."""

    name: str
    path: Path
    size: tuple[int, int]
    prediction: P


class Task(ABC, Generic[P]):
    """One kind of prediction. Found by name under the entry-point group ``adaptrt.tasks``.

    ``prediction`` is the type of its predictions: a frozen dataclass of ``adaptrt.predictions``, or of the distribution
    that provides the task. Everything heavy (cv2, scorers) is imported inside the methods. Only ``describe`` is required;
    features that a task does not implement are not available for its models.

    - ``scoring``: how models are evaluated; ``None``: evaluation is not supported
    - ``formats``: what ``export`` writes, the default first
    - ``empty_reason``: the reason that links 0 and 5 give if all predictions are empty
    - ``whole_image``: a prediction is about the whole image, without positions in it
    - ``decoded_in_graph``: the graph check reports logits and raw maps as outputs
    """

    name: str
    prediction: type[P]
    scoring: Scoring[P] | None = None
    formats: tuple[str, ...] = ("json",)
    empty_reason: str = "both predictions are empty: choose another image"
    whole_image: bool = False
    decoded_in_graph: bool = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_results(cls, TASK)
        wrap_method(cls, "export", checked_files)

    def __new__(cls, *_: Any, **__: Any) -> Task[P]:
        for attribute, kind in (("name", str), ("prediction", type)):
            value = getattr(cls, attribute, None)
            if not isinstance(value, kind):
                raise TypeError(f"{cls.__name__}.{attribute} must be a {kind.__name__}; got {value!r:.60}.")
        if cls.record is Task.record and cls.read_record is not Task.read_record:
            raise TypeError(f"{cls.__name__} implements read_record, but not record")
        return super().__new__(cls)

    @abstractmethod
    def describe(self, prediction: P) -> str:
        """What was found, in a few words."""

    def draw(self, image: Image, prediction: P) -> Image:
        """A copy of the image, uint8 [H, W, 3] RGB, with the prediction on it."""
        drawn: Image = image.copy()
        return drawn

    @property
    def draws(self) -> bool:
        """Whether predictions can be drawn."""
        return type(self).draw is not Task.draw

    def bars(self, prediction: P) -> list[tuple[str, float]]:
        """Names with values between 0 and 1, shown as bars on the terminal and in the report instead of a sentence."""
        return []

    def above(self, prediction: P, score: float) -> P:
        """The prediction without objects that score at or below ``score``."""
        return prediction

    def is_empty(self, prediction: P) -> bool:
        """Whether nothing was found, so that agreement verifies nothing."""
        return False

    def data(self, prediction: P) -> dict[str, Any]:
        """The prediction as JSON data: what ``predict --json`` prints."""
        return {"found": self.describe(prediction)}

    def row(self, prediction: P) -> dict[str, Any]:
        """The whole prediction as JSON data, with the same keys for each: what batch jobs and servers write."""
        return self.data(prediction)

    def record(self, prediction: P) -> dict[str, Any]:
        """The prediction as stored in reports: compact JSON data."""
        return {}

    def read_record(self, record: Mapping[str, Any]) -> P | None:
        """The prediction of a record, ``None`` if it cannot be restored; a ``ModelError`` if it is invalid."""
        return None

    def export(self, format: str, found: Sequence[Found[P]]) -> Iterator[tuple[str, bytes]]:  # noqa: A002
        """Files in one of ``formats``, by name."""
        if format != "json":
            raise UsageError(
                f"Predictions of task {self.name!r} cannot be written as {format!r}.",
                hint=did_you_mean(format, self.formats),
            )
        rows = [{"image": str(one.path), **self.data(one.prediction)} for one in found]
        yield "predictions.json", json.dumps(rows).encode()

    def tabulate(self, prediction: P) -> tuple[list[str], list[list[Any]]]:
        """Column names and rows: what ``to_pandas`` and notebooks show."""
        raise UsageError(f"Predictions of task {self.name!r} are not a table.")

    def coco_entries(self, prediction: P, image_id: int | str) -> list[dict[str, Any]]:
        """COCO results, one for each object; ``category_id`` is the class."""
        raise UsageError(f"Predictions of task {self.name!r} cannot be written as COCO results.")

    def to_supervision(self, prediction: P, supervision: Any) -> Any:
        """The prediction as an object of ``supervision``, the imported package."""
        raise UsageError(f"Predictions of task {self.name!r} have no counterpart in supervision.")

    def metrics(self, spec: ModelSpec, precision: Precision) -> list[Metric]:
        """How well predictions agree (links 0 and 5), as strict as the precision allows; empty: nothing is compared."""
        return []

    def agreement(self, expected: P, actual: P) -> str:
        """How close two predictions of one image are, as a sentence for the report; may be empty."""
        return ""

    def malformed(self, prediction: P, spec: ModelSpec, size: tuple[int, int] | None = None) -> str | None:
        """Why a prediction that a plugin made cannot be used; ``None`` if it can.

        For example the shape of an array, a number that is not finite, or a class that the spec does not have. The other methods
        rely on what is checked here. ``size``: height and width of the image, if known.
        """
        return None

    def problems(self, prediction: P, spec: ModelSpec, size: tuple[int, int]) -> list[str]:
        """Problems of a prediction for an image of this size (height, width), for the contract tests of adapters."""
        malformed = self.malformed(prediction, spec, size)
        return [] if malformed is None else [malformed]


TASKS: Registry[Task[Any]] = Registry("adaptrt.tasks", "task", Task)


def task_named(name: str) -> Task[Any]:
    """The task with this name; a ``UsageError`` lists the available ones."""
    return TASKS.find(name)


def scoring_named(name: str) -> Scoring[Any]:
    """The scoring of this task; a ``UsageError`` lists the tasks that have one."""
    scoring = task_named(name).scoring
    if scoring is None:
        able = [task.name for task in TASKS.all() if task.scoring is not None]
        raise UsageError(
            f"Models of task {name!r} cannot be evaluated.", hint=f"Tasks that can be evaluated: {', '.join(able)}."
        )
    return scoring
