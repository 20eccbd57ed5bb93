"""The task ``semantic``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt.predictions import SemanticMap, name_in_text
from adaptrt.specs.tasks import Found, Task
from adaptrt.tasks.arrays import malformed_array, malformed_labels
from adaptrt.tasks.exports import csv_file
from adaptrt.tasks.semantic.agreement import LEAST_IOU, describe_agreement, matched_classes, mean_iou, pixel_accuracy
from adaptrt.tasks.semantic.records import map_from_record, record_map
from adaptrt.tasks.semantic.scoring import MaskScoring

if TYPE_CHECKING:
    from adaptrt.contributions import Metric
    from adaptrt.specs import ModelSpec, Precision
    from adaptrt.vision.images import ImageArray

NAMED = 5  # maximum number of classes in a description


COLUMNS = ("label", "class", "pixels", "share")


class Semantic(Task[SemanticMap]):
    """The class of each pixel."""

    name = "semantic"
    prediction = SemanticMap
    scoring = MaskScoring()
    formats = ("json", "png", "csv")
    empty_reason = "a single class covers the image on both sides: use an image with several classes"

    def describe(self, prediction: SemanticMap) -> str:
        areas, pixels = prediction.areas(), prediction.labels.size
        named = [
            f"{name_in_text(prediction.name(label))} {count / pixels:.1%}"
            for label, count in list(areas.items())[:NAMED]
        ]
        more = [f"{len(areas) - NAMED} more"] if len(areas) > NAMED else []
        return ", ".join([*named, *more])

    def draw(self, image: ImageArray, prediction: SemanticMap) -> ImageArray:
        from adaptrt.tasks.semantic.drawing import draw_classes

        return draw_classes(image, prediction)

    def is_empty(self, prediction: SemanticMap) -> bool:
        return bool((prediction.labels == prediction.labels[0, 0]).all())

    def data(self, prediction: SemanticMap) -> dict[str, Any]:
        """The area of each class that occurs, in pixels and as a share of the image."""
        rows = []
        for label, pixels in prediction.areas().items():
            row = {"label": prediction.name(label), "class": label, "pixels": pixels}
            row["share"] = round(pixels / prediction.labels.size, 6)
            if prediction.scores is not None:
                row["score"] = round(float(prediction.scores[label]), 6)
            rows.append(row)
        return {"areas": rows}

    def record(self, prediction: SemanticMap) -> dict[str, Any]:
        return record_map(prediction)

    def read_record(self, record: Mapping[str, Any]) -> SemanticMap:
        return map_from_record(record)

    def export(self, format: str, found: Sequence[Found[SemanticMap]]) -> Iterator[tuple[str, bytes]]:  # noqa: A002
        if format == "png":
            for one in found:
                yield f"{one.name}.png", _png(one.prediction)
        elif format == "csv":
            yield "predictions.csv", csv_file(found, COLUMNS, lambda prediction: self.tabulate(prediction)[1])
        else:
            yield from super().export(format, found)

    def tabulate(self, prediction: SemanticMap) -> tuple[list[str], list[list[Any]]]:
        return list(COLUMNS), [[row[name] for name in COLUMNS] for row in self.data(prediction)["areas"]]

    def metrics(self, spec: ModelSpec, precision: Precision) -> list[Metric]:
        limits = precision.limits
        each = [] if precision.reduced else [matched_classes(LEAST_IOU)]
        return [pixel_accuracy(limits.get("pixel_accuracy", 0.95)), mean_iou(limits.get("miou", 0.8)), *each]

    def agreement(self, expected: SemanticMap, actual: SemanticMap) -> str:
        return describe_agreement(expected, actual)

    def malformed(self, prediction: SemanticMap, spec: ModelSpec, size: tuple[int, int] | None = None) -> str | None:
        labels = prediction.labels
        if not isinstance(labels, np.ndarray):
            return f"labels must be an array; got {type(labels).__name__}"
        wanted = list(size) if size is not None else "[H, W]"
        if labels.ndim != 2 or labels.dtype not in (np.uint8, np.int32) or size not in (None, labels.shape):
            return (
                f"labels must be uint8 or int32 {wanted}, one per pixel of the original image; "
                f"got {labels.dtype} {list(labels.shape)}"
            )
        scores = prediction.scores
        return malformed_labels(labels, spec) or (
            None if scores is None else malformed_array("scores", scores, (None,))
        )


def _png(prediction: SemanticMap) -> bytes:
    """Class indices as gray values, 8 bits, or 16 if there are more than 256 classes."""
    from adaptrt.vision.opencv import cv2

    labels = prediction.labels
    return bytes(cv2.imencode(".png", labels if labels.dtype == np.uint8 else labels.astype(np.uint16))[1])


TASK = Semantic()
