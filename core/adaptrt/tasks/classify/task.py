"""The task ``classify``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt.contributions import Metric
from adaptrt.errors import ModelError
from adaptrt.predictions import Classification, name_in_text
from adaptrt.specs.tasks import Found, Task
from adaptrt.tasks.arrays import INTEGERS, malformed_array, malformed_labels
from adaptrt.tasks.classify.scoring import ClassScoring
from adaptrt.tasks.exports import csv_file
from adaptrt.tasks.records import array_of, names_of

if TYPE_CHECKING:
    from adaptrt.specs import ModelSpec, Precision
    from adaptrt.vision.images import ImageArray


COLUMNS = ("rank", "label", "class", "score")


class Classify(Task[Classification]):
    """The classes of an image, the most likely first."""

    name = "classify"
    prediction = Classification
    scoring = ClassScoring()
    formats = ("json", "csv", "txt")
    whole_image = True

    def describe(self, prediction: Classification) -> str:
        return f"{name_in_text(prediction.name(0))} {prediction.scores[0]:.3f}" if len(prediction) else "nothing"

    def draw(self, image: ImageArray, prediction: Classification) -> ImageArray:
        from adaptrt.tasks.classify.drawing import draw_classes

        drawn: ImageArray = image.copy()
        draw_classes(drawn, prediction)
        return drawn

    def bars(self, prediction: Classification) -> list[tuple[str, float]]:
        return [(prediction.name(index), float(prediction.scores[index])) for index in range(len(prediction))]

    def data(self, prediction: Classification) -> dict[str, Any]:
        rows = [
            {
                "label": prediction.name(index),
                "class": int(prediction.labels[index]),
                "score": round(float(prediction.scores[index]), 6),
            }
            for index in range(len(prediction))
        ]
        return {"classes": rows}

    def record(self, prediction: Classification) -> dict[str, Any]:
        return {
            "scores": [round(float(score), 6) for score in prediction.scores],
            "labels": [int(label) for label in prediction.labels],
            "names": prediction.names,
        }

    def read_record(self, record: Mapping[str, Any]) -> Classification:
        scores, labels = array_of(record, "scores", np.float32), array_of(record, "labels", np.int64)
        if len(scores) != len(labels):
            raise ModelError(f"A record has {len(scores)} scores and {len(labels)} labels; the numbers must be equal.")
        return Classification(scores, labels, names_of(record))

    def export(self, format: str, found: Sequence[Found[Classification]]) -> Iterator[tuple[str, bytes]]:  # noqa: A002
        """``txt``: a file for each image, score and name a line, as Ultralytics writes them."""
        if format == "txt":
            for one in found:
                scored = self.bars(one.prediction)
                yield f"{one.name}.txt", "".join(f"{score:.6g} {name}\n" for name, score in scored).encode()
            return
        if format != "csv":
            yield from super().export(format, found)
            return
        yield "predictions.csv", csv_file(found, COLUMNS, lambda prediction: self.tabulate(prediction)[1])

    def tabulate(self, prediction: Classification) -> tuple[list[str], list[list[Any]]]:
        rows = [
            [
                index + 1,
                prediction.name(index),
                int(prediction.labels[index]),
                round(float(prediction.scores[index]), 6),
            ]
            for index in range(len(prediction))
        ]
        return list(COLUMNS), rows

    def to_supervision(self, prediction: Classification, supervision: Any) -> Any:
        return supervision.Classifications(class_id=prediction.labels, confidence=prediction.scores)

    def metrics(self, spec: ModelSpec, precision: Precision) -> list[Metric]:
        return [TOP1] if precision.reduced else [TOP1, close_scores(precision.limits.get("score", 0.1))]

    def malformed(self, prediction: Classification, spec: ModelSpec, size: tuple[int, int] | None = None) -> str | None:
        scores = prediction.scores
        return (
            malformed_array("scores", scores, (None,))
            or malformed_array("labels", prediction.labels, (len(scores),), INTEGERS)
            or malformed_labels(prediction.labels, spec)
            or (None if len(scores) else "scores must contain at least one class")
        )

    def problems(self, prediction: Classification, spec: ModelSpec, size: tuple[int, int]) -> list[str]:
        if found := super().problems(prediction, spec, size):
            return found
        return ["scores must be in descending order"] if (np.diff(prediction.scores) > 0).any() else []


def _same_class(reference: Sequence[Classification], converted: Sequence[Classification]) -> float | None:
    same = [
        int(expected.labels[0]) == int(actual.labels[0]) for expected, actual in zip(reference, converted, strict=True)
    ]
    return sum(same) / len(same) if same else None


def close_scores(limit: float) -> Metric:
    """The share of images whose classes have the same scores, within ``limit``.

    Not for a reduced precision, which links 3 and 4 compare. Other pixels, as of a wrong color order, often lead to the same
    class, but not with the same score.
    """

    def difference(expected: Classification, actual: Classification) -> float:
        """A class that only one side returns has at most the lowest score of the other side there."""
        if not len(expected) or not len(actual):
            return 0.0 if len(expected) == len(actual) else np.inf
        first, second = (
            {int(k): float(v) for k, v in zip(one.labels, one.scores, strict=True)} for one in (expected, actual)
        )
        common = [abs(first[label] - second[label]) for label in first.keys() & second.keys()]
        missing = [score - min(second.values()) for label, score in first.items() if label not in second]
        added = [score - min(first.values()) for label, score in second.items() if label not in first]
        worst = np.array([*common, *missing, *added])
        return float(worst.max()) if np.isfinite(worst).all() else np.inf

    def compute(reference: Sequence[Classification], converted: Sequence[Classification]) -> float | None:
        close = [difference(expected, actual) <= limit for expected, actual in zip(reference, converted, strict=True)]
        return sum(close) / len(close) if close else None

    def explain(reference: Sequence[Classification], converted: Sequence[Classification]) -> str:
        worst = max(difference(expected, actual) for expected, actual in zip(reference, converted, strict=True))
        return f"a score differs by {worst:.3g}"

    return Metric(
        name=f"scores within {limit:g}",
        task="classify",
        reason="the same classes, with the same confidence",
        compute=compute,
        minimum=1.0,
        explain=explain,
    )


TOP1 = Metric(
    name="same top-1", task="classify", reason="the most likely class is the same", compute=_same_class, minimum=1.0
)
TASK = Classify()
