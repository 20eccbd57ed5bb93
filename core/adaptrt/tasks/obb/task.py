"""The task ``obb``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt.errors import ModelError
from adaptrt.predictions import RotatedDetections
from adaptrt.tasks.arrays import malformed_array
from adaptrt.tasks.detect.agreement import decoder_threshold, matched_boxes
from adaptrt.tasks.obb.agreement import describe_rotated, match_rotated, rotated_of
from adaptrt.tasks.obb.scoring import RotatedScoring
from adaptrt.tasks.objects import ObjectTask, folder_name, read_boxes
from adaptrt.tasks.records import array_of

if TYPE_CHECKING:
    from adaptrt.contributions import Metric
    from adaptrt.specs import ModelSpec, Precision
    from adaptrt.specs.tasks import Found
    from adaptrt.vision.images import ImageArray


class RotatedBoxes(ObjectTask[RotatedDetections]):
    """Objects in rotated boxes, each with a class and a score."""

    name = "obb"
    prediction = RotatedDetections
    scoring = RotatedScoring()
    formats = ("json", "dota", "txt", "csv", "crop")

    def draw(self, image: ImageArray, prediction: RotatedDetections) -> ImageArray:
        from adaptrt.tasks.obb.drawing import draw_rotated

        drawn: ImageArray = image.copy()
        draw_rotated(drawn, prediction)
        return drawn

    def object_data(self, prediction: RotatedDetections, index: int) -> dict[str, Any]:
        """``rotated``: center x and y, width, height, angle in radians; ``corners``: x and y of each."""
        return {
            **super().object_data(prediction, index),
            "rotated": _numbers(rotated_of(prediction)[index]),
            "corners": [[round(float(x), 3), round(float(y), 3)] for x, y in prediction.polygons[index]],
        }

    def record(self, prediction: RotatedDetections) -> dict[str, Any]:
        return {**super().record(prediction), "rotated": [_numbers(box) for box in rotated_of(prediction)]}

    def read_record(self, record: Mapping[str, Any]) -> RotatedDetections:
        found, rotated = read_boxes(record), array_of(record, "rotated", np.float32, 5)
        if len(rotated) != len(found):
            raise ModelError(f"A record has {len(found)} boxes but {len(rotated)} rotated boxes.")
        return RotatedDetections(found.boxes, found.scores, found.labels, found.names, rotated)

    def export(self, format: str, found: Sequence[Found[RotatedDetections]]) -> Iterator[tuple[str, bytes]]:  # noqa: A002
        """``dota``: a file for each class, ``Task1_ship.txt``, as its evaluation reads them."""
        yield from _dota_files(found) if format == "dota" else super().export(format, found)

    def label_numbers(self, prediction: RotatedDetections, index: int, size: tuple[int, int]) -> list[float]:
        """Four corners in place of the box, as Ultralytics writes them."""
        return [float(value) for value in (prediction.polygons[index] / np.array([size[1], size[0]])).ravel()]

    def supervision_data(self, prediction: RotatedDetections) -> dict[str, Any]:
        return {"xyxyxyxy": prediction.polygons}

    def header(self, predictions: Sequence[RotatedDetections]) -> list[str]:
        return [*super().header(predictions), "center_x", "center_y", "width", "height", "angle"]

    def columns(self, prediction: RotatedDetections, index: int) -> list[Any]:
        return [*super().columns(prediction, index), *_numbers(rotated_of(prediction)[index])]

    def metrics(self, spec: ModelSpec, precision: Precision) -> list[Metric]:
        iou, score = precision.limits.get("rotated_iou", 0.7), precision.limits.get("score", 0.1)
        return [matched_boxes(iou, score, decoder_threshold(spec), task=self.name, match=match_rotated)]

    def agreement(self, expected: RotatedDetections, actual: RotatedDetections) -> str:
        return describe_rotated(expected, actual)

    def malformed(
        self, prediction: RotatedDetections, spec: ModelSpec, size: tuple[int, int] | None = None
    ) -> str | None:
        if (found := super().malformed(prediction, spec, size)) is not None:
            return found
        rotated = rotated_of(prediction)
        found = malformed_array("rotated boxes", rotated, (len(prediction), 5))
        if found is None and (rotated[:, 2:4] < 0).any():
            return "rotated boxes must have sides of at least 0"
        return found


def _numbers(box: Any) -> list[float]:
    return [*(round(float(value), 3) for value in box[:4]), round(float(box[4]), 6)]


def _dota_files(found: Sequence[Found[RotatedDetections]]) -> Iterator[tuple[str, bytes]]:
    lines: dict[str, list[str]] = {}
    for one in found:
        for index in range(len(one.prediction)):
            corners = " ".join(f"{value:.2f}" for value in one.prediction.polygons[index].ravel())
            line = f"{one.name} {float(one.prediction.scores[index]):.6f} {corners}\n"
            lines.setdefault(folder_name(one.prediction.name(index)), []).append(line)
    for name in sorted(lines):
        yield f"Task1_{name}.txt", "".join(lines[name]).encode()


TASK = RotatedBoxes()
