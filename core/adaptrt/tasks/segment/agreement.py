"""How well two sets of masks agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from adaptrt.contributions import Metric
from adaptrt.tasks.detect.agreement import MATCHED, describe_object, match_boxes, mean_of_matched, shortened

if TYPE_CHECKING:
    from adaptrt.predictions import Mask, Segments

LEAST_IOU = 0.8  # of the masks of one object, in float32


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
    return [mask_iou(expected.masks[a], actual.masks[b]) for a, b in _masked_pairs(expected, actual)]


def _masked_pairs(expected: Segments, actual: Segments) -> list[tuple[int, int]]:
    """The objects whose boxes have a match, without those whose mask is empty on both sides: nothing is compared there."""
    pairs = match_boxes(expected, actual, MATCHED)
    return [(a, b) for a, b in pairs if expected.masks[a].area or actual.masks[b].area]


def mean_mask_iou(minimum: float) -> Metric:
    """The mean IoU of the masks of objects whose boxes have a match."""
    return mean_of_matched(
        matched_mask_ious,
        name="mask IoU of matched objects",
        task="segment",
        reason="each object covers the same pixels",
        minimum=minimum,
    )


def matched_masks(minimum: float, pixels: int = 16) -> Metric:
    """The share of matched objects whose masks have at least this IoU, or differ by at most ``pixels``.

    Not for a reduced precision, which links 3 and 4 compare. A mean over many objects hides a mask that is wrong.
    """

    def wrong(expected: Segments, actual: Segments) -> tuple[int, list[tuple[int, float]]]:
        pairs, found = _masked_pairs(expected, actual), []
        for a, b in pairs:
            first, second = expected.masks[a], actual.masks[b]
            iou = mask_iou(first, second)
            apart = (first.area + second.area) * (1 - iou) / (1 + iou)  # from the union and what is shared
            if iou < minimum and apart > pixels:
                found.append((a, iou))
        return len(pairs), found

    def compute(reference: Sequence[Segments], converted: Sequence[Segments]) -> float | None:
        found = [wrong(expected, actual) for expected, actual in zip(reference, converted, strict=True)]
        total = sum(count for count, _ in found)
        return 1 - sum(len(one) for _, one in found) / total if total else None

    def explain(reference: Sequence[Segments], converted: Sequence[Segments]) -> str:
        lines = [
            f"image {number}: the mask of {describe_object(expected, index)} has IoU {iou:.2g}"
            for number, (expected, actual) in enumerate(zip(reference, converted, strict=True), 1)
            for index, iou in wrong(expected, actual)[1]
        ]
        return shortened(lines)

    return Metric(
        name=f"masks with IoU {minimum:g}",
        task="segment",
        reason="the mask of each object covers the same pixels; a few on its edge may differ",
        compute=compute,
        minimum=1.0,
        explain=explain,
    )


def describe_masks(expected: Segments, actual: Segments) -> str:
    ious = matched_mask_ious(expected, actual)
    return f"mask IoU at least {min(ious):.4f}" if ious else ""
