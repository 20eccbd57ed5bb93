"""The task ``detect``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from adaptrt.predictions import Detections
from adaptrt.tasks.detect.agreement import decoder_threshold, describe_agreement, matched_boxes
from adaptrt.tasks.detect.scoring import BoxScoring
from adaptrt.tasks.objects import ObjectTask, read_boxes

if TYPE_CHECKING:
    from adaptrt.contributions import Metric
    from adaptrt.specs import ModelSpec, Precision
    from adaptrt.vision.images import ImageArray

# corners this near are the same box, however small it is, in any precision
MAX_PIXELS = 0.5


class Detect(ObjectTask[Detections]):
    """Objects in boxes, each with a class and a score."""

    name = "detect"
    prediction = Detections
    scoring = BoxScoring()

    def draw(self, image: ImageArray, prediction: Detections) -> ImageArray:
        from adaptrt.tasks.detect.drawing import draw_detections

        drawn: ImageArray = image.copy()
        draw_detections(drawn, prediction)
        return drawn

    def read_record(self, record: Mapping[str, Any]) -> Detections:
        return read_boxes(record)

    def metrics(self, spec: ModelSpec, precision: Precision) -> list[Metric]:
        iou, score = precision.limits.get("box_iou", 0.75), precision.limits.get("score", 0.1)
        pixels = min(precision.tolerances["pixels"].atol, MAX_PIXELS)
        return [matched_boxes(iou, score, decoder_threshold(spec), pixels)]

    def agreement(self, expected: Detections, actual: Detections) -> str:
        return describe_agreement(expected, actual)


TASK = Detect()
