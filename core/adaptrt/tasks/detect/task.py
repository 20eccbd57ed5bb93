"""The task ``detect``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt.errors import ModelError
from adaptrt.predictions import Detections
from adaptrt.specs.tasks import Found, Task
from adaptrt.tasks.detect.agreement import decoder_threshold, describe_agreement, matched_boxes
from adaptrt.tasks.detect.exports import coco_file, table_file, yolo_files
from adaptrt.tasks.detect.scoring import BoxScoring
from adaptrt.tasks.records import array_of, names_of

if TYPE_CHECKING:
    from adaptrt.contributions import Metric
    from adaptrt.specs import ModelSpec, Precision
    from adaptrt.vision.images import ImageArray


class Detect(Task[Detections]):
    """Objects in boxes, each with a class and a score."""

    name = "detect"
    prediction = Detections
    scoring = BoxScoring()
    formats = ("json", "coco", "txt", "csv")
    empty_reason = "nothing was detected in the image on either side: use an image with objects, or a lower --set conf"
    decoded_in_graph = True

    def describe(self, prediction: Detections) -> str:
        names = [prediction.name(index) for index in range(len(prediction))]
        return ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names)) or "nothing"

    def draw(self, image: ImageArray, prediction: Detections) -> ImageArray:
        from adaptrt.tasks.detect.drawing import draw_detections

        drawn: ImageArray = image.copy()
        draw_detections(drawn, prediction)
        return drawn

    def above(self, prediction: Detections, score: float) -> Detections:
        kept = prediction.scores > score
        return Detections(prediction.boxes[kept], prediction.scores[kept], prediction.labels[kept], prediction.names)

    def is_empty(self, prediction: Detections) -> bool:
        return not len(prediction)

    def data(self, prediction: Detections) -> dict[str, Any]:
        """Boxes: x1 y1 x2 y2, in pixels of the image."""
        rows = [
            {
                "label": prediction.name(index),
                "class": int(prediction.labels[index]),
                "score": round(float(prediction.scores[index]), 6),
                "box": [round(float(side), 3) for side in prediction.boxes[index]],
            }
            for index in range(len(prediction))
        ]
        return {"detections": rows}

    def record(self, prediction: Detections) -> dict[str, Any]:
        return {
            "scores": [round(float(score), 6) for score in prediction.scores],
            "labels": [int(label) for label in prediction.labels],
            "names": prediction.names,
            "boxes": [[round(float(side), 3) for side in box] for box in prediction.boxes],
        }

    def read_record(self, record: Mapping[str, Any]) -> Detections:
        boxes, scores = array_of(record, "boxes", np.float32, 4), array_of(record, "scores", np.float32)
        labels = array_of(record, "labels", np.int64)
        if not len(boxes) == len(scores) == len(labels):
            raise ModelError(
                f"A record has {len(boxes)} boxes, {len(scores)} scores and {len(labels)} labels; the numbers must be equal."
            )
        return Detections(boxes, scores, labels, names_of(record))

    def export(self, format: str, found: Sequence[Found[Detections]]) -> Iterator[tuple[str, bytes]]:  # noqa: A002
        if format == "coco":
            yield "predictions.json", coco_file(found)
        elif format == "txt":
            yield from yolo_files(found)
        elif format == "csv":
            yield "predictions.csv", table_file(found)
        else:
            yield from super().export(format, found)

    def metrics(self, spec: ModelSpec, precision: Precision) -> list[Metric]:
        iou, score = precision.limits.get("box_iou", 0.75), precision.limits.get("score", 0.1)
        return [matched_boxes(iou, score, decoder_threshold(spec))]

    def agreement(self, expected: Detections, actual: Detections) -> str:
        return describe_agreement(expected, actual)

    def problems(self, prediction: Detections, spec: ModelSpec, size: tuple[int, int]) -> list[str]:
        count, (height, width) = len(prediction), size
        if prediction.boxes.shape != (count, 4) or prediction.labels.shape != (count,):
            return ["boxes must be rows of x1 y1 x2 y2, each with one score and one label"]
        found = []
        if not np.isfinite(prediction.scores).all():
            found.append("scores are not finite")
        elif (np.diff(prediction.scores) > 0).any():
            found.append("scores must be in descending order")
        if not ((prediction.boxes >= 0) & (prediction.boxes <= [width, height, width, height])).all():
            found.append("boxes extend beyond the image: clip them")
        return found


TASK = Detect()
