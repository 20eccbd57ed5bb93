"""How well two sets of masks agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from adaptrt.contributions import Metric
from adaptrt.tasks.detect.agreement import match_boxes

if TYPE_CHECKING:
    from adaptrt.predictions import Mask, Segments

MATCHED = 0.5  # IoU of the boxes from which on masks are compared


def mask_iou(first: Mask, second: Mask) -> float:
    """Of two masks of one image; 1 where both are empty."""
    top, left = max(first.top, second.top), max(first.left, second.left)
    bottom, right = (
        min(first.top + first.bitmap.shape[0], second.top + second.bitmap.shape[0]),
        min(first.left + first.bitmap.shape[1], second.left + second.bitmap.shape[1]),
    )
    shared = 0
    if bottom > top and right > left:
        parts = [
            mask.bitmap[top - mask.top : bottom - mask.top, left - mask.left : right - mask.left]
            for mask in (first, second)
        ]
        shared = int((parts[0] & parts[1]).sum())
    union = first.area + second.area - shared
    return shared / union if union else 1.0


def matched_mask_ious(expected: Segments, actual: Segments) -> list[float]:
    """The mask IoUs of objects whose boxes have a match."""
    return [mask_iou(expected.masks[a], actual.masks[b]) for a, b in match_boxes(expected, actual, MATCHED)]


def mean_mask_iou(minimum: float) -> Metric:
    """The mean IoU of the masks of objects whose boxes have a match."""

    def compute(reference: Sequence[Segments], converted: Sequence[Segments]) -> float:
        ious = [
            iou
            for expected, actual in zip(reference, converted, strict=True)
            for iou in matched_mask_ious(expected, actual)
        ]
        return float(np.mean(ious)) if ious else 1.0

    return Metric(
        name="mask IoU of matched objects",
        task="segment",
        reason="each object covers the same pixels",
        compute=compute,
        minimum=minimum,
    )


def describe_masks(expected: Segments, actual: Segments) -> str:
    ious = matched_mask_ious(expected, actual)
    return f"mask IoU at least {min(ious):.4f}" if ious else ""
