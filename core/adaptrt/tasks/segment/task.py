"""The task ``segment``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt.predictions import Mask, Segments
from adaptrt.tasks.detect.agreement import decoder_threshold, describe_agreement, matched_boxes
from adaptrt.tasks.objects import ObjectTask, read_boxes
from adaptrt.tasks.segment.agreement import LEAST_IOU, describe_masks, matched_masks, mean_mask_iou
from adaptrt.tasks.segment.records import record_masks, segments_from
from adaptrt.tasks.segment.rle import coco_mask
from adaptrt.tasks.segment.scoring import MaskScoring

if TYPE_CHECKING:
    from adaptrt.contributions import Metric
    from adaptrt.specs import ModelSpec, Precision
    from adaptrt.vision.images import ImageArray


class Segment(ObjectTask[Segments]):
    """Objects in boxes, each with its pixels, a class and a score."""

    name = "segment"
    prediction = Segments
    scoring = MaskScoring()

    def draw(self, image: ImageArray, prediction: Segments) -> ImageArray:
        from adaptrt.tasks.segment.drawing import draw_segments

        drawn: ImageArray = image.copy()
        draw_segments(drawn, prediction)
        return drawn

    def object_data(self, prediction: Segments, index: int) -> dict[str, Any]:
        """``mask``: COCO's run lengths; ``pixels``: how many."""
        mask = prediction.masks[index]
        data = super().object_data(prediction, index)
        return {**data, "pixels": mask.area, "mask": coco_mask(mask, prediction.size)}

    def record(self, prediction: Segments) -> dict[str, Any]:
        return {**super().record(prediction), **record_masks(prediction)}

    def read_record(self, record: Mapping[str, Any]) -> Segments:
        return segments_from(record, read_boxes(record))

    def label_numbers(self, prediction: Segments, index: int, size: tuple[int, int]) -> list[float]:
        """x and y along the outline of the largest part of its mask in place of the box, as Ultralytics writes it."""
        from adaptrt.vision.opencv import cv2

        mask = prediction.masks[index]
        contours, _ = cv2.findContours(
            np.ascontiguousarray(mask.bitmap, np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
        )
        if not contours:
            return []
        points = max(contours, key=len).reshape(-1, 2) + np.array([mask.left, mask.top])
        return [float(value) for value in (points / np.array([size[1], size[0]])).ravel()]

    def coco_object(self, prediction: Segments, index: int) -> dict[str, Any]:
        return {"segmentation": coco_mask(prediction.masks[index], prediction.size)}

    def supervision_masks(self, prediction: Segments) -> Any:
        masks = [mask.in_image(prediction.size) for mask in prediction.masks]
        return np.stack(masks) if masks else np.zeros((0, *prediction.size), np.bool_)

    def header(self, predictions: Sequence[Segments]) -> list[str]:
        return [*super().header(predictions), "pixels"]

    def columns(self, prediction: Segments, index: int) -> list[Any]:
        return [*super().columns(prediction, index), prediction.masks[index].area]

    def metrics(self, spec: ModelSpec, precision: Precision) -> list[Metric]:
        limits = precision.limits
        iou, score = limits.get("box_iou", 0.75), limits.get("score", 0.1)
        return [
            matched_boxes(iou, score, decoder_threshold(spec), task=self.name),
            mean_mask_iou(limits.get("mask_iou", 0.8)),
            *([] if precision.reduced else [matched_masks(LEAST_IOU)]),
        ]

    def agreement(self, expected: Segments, actual: Segments) -> str:
        return ", ".join(filter(None, (describe_agreement(expected, actual), describe_masks(expected, actual))))

    def malformed(self, prediction: Segments, spec: ModelSpec, size: tuple[int, int] | None = None) -> str | None:
        if (found := super().malformed(prediction, spec, size)) is not None:
            return found
        masks, whole = prediction.masks, prediction.size if size is None else size
        if not isinstance(masks, (tuple, list)) or not all(isinstance(mask, Mask) for mask in masks):
            return "masks must be a tuple of Mask"
        if len(masks) != len(prediction):
            return f"each object must have a mask; got {len(prediction)} objects but {len(masks)} masks"
        if prediction.size != whole:
            return f"size is {list(prediction.size)} but the image size is {list(whole)}"
        if not all(_is_inside(mask, whole) for mask in masks):
            return "a mask must be a boolean bitmap inside the image"
        return None


def _is_inside(mask: Mask, size: tuple[int, int]) -> bool:
    bitmap = mask.bitmap
    if not isinstance(bitmap, np.ndarray) or bitmap.dtype != np.bool_ or bitmap.ndim != 2:
        return False
    (height, width), (top, left) = bitmap.shape, (mask.top, mask.left)
    return bool(0 <= top <= top + height <= size[0] and 0 <= left <= left + width <= size[1])


TASK = Segment()
