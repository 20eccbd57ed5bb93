"""Object keypoint similarity (OKS), and how well two sets of keypoints agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from adaptrt.contributions import Metric
from adaptrt.quantities import digits
from adaptrt.tasks.detect.agreement import MATCHED, describe_object, match_boxes, mean_of_matched, shortened

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.predictions import Poses

MAX_DISTANCE = 0.02  # of keypoints in float32, relative to the size of their object
_COCO = (26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89)


def sigmas(count: int) -> NDArray[np.float64]:
    """How far each keypoint may be off, as a part of the object's size: COCO's for 17 keypoints, else 1 / count, as
    Ultralytics does."""
    return np.array(_COCO) / 1000 if count == len(_COCO) else np.full(count, 1 / max(count, 1))


def keypoint_similarity(expected: Poses, actual: Poses) -> list[float]:
    """OKS of the objects whose boxes have a match, 0 to 1; points with no visibility on both sides are ignored, and so are objects
    without others."""
    found = []
    spread = (2 * sigmas(expected.points.shape[1])) ** 2
    for a, b in match_boxes(expected, actual, MATCHED):
        first, second = expected.points[a].astype(np.float64), actual.points[b].astype(np.float64)
        width, height = expected.boxes[a, 2:] - expected.boxes[a, :2]
        counted = (first[:, 2] > 0) | (second[:, 2] > 0)
        distances = ((first[:, :2] - second[:, :2]) ** 2).sum(1)
        similar = np.exp(-distances / (2 * spread * max(float(width * height), 1.0)))
        if counted.any():
            found.append(float(similar[counted].mean()))
    return found


def mean_similarity(minimum: float) -> Metric:
    """The mean OKS of objects whose boxes have a match."""
    return mean_of_matched(
        keypoint_similarity,
        name="OKS of matched objects",
        task="pose",
        reason="same keypoints, at the same positions",
        minimum=minimum,
    )


def matched_keypoints(distance: float, visibility: float) -> Metric:
    """The share of keypoints of matched objects that lie within ``distance``, relative to the square root of the area of the
    object, and whose visibility differs by at most ``visibility``. A pixel is always accepted.

    Not for a reduced precision, which links 3 and 4 compare. OKS is a mean, tolerates much where there are few keypoints, and does
    not depend on visibilities.
    """

    def near(expected: Poses, actual: Poses, a: int, b: int) -> NDArray[np.bool_]:
        first, second = expected.points[a].astype(np.float64), actual.points[b].astype(np.float64)
        width, height = (float(side) for side in expected.boxes[a, 2:] - expected.boxes[a, :2])
        apart = np.sqrt(((first[:, :2] - second[:, :2]) ** 2).sum(1))
        seen = (first[:, 2] > 0) | (second[:, 2] > 0)
        placed = apart <= max(distance * (max(width, 0) * max(height, 0)) ** 0.5, 1.0)
        alike: NDArray[np.bool_] = (placed | ~seen) & (np.abs(first[:, 2] - second[:, 2]) <= visibility)
        return alike

    def found(reference: Sequence[Poses], converted: Sequence[Poses]) -> list[tuple[int, str, NDArray[np.bool_]]]:
        return [
            (number, describe_object(expected, a), near(expected, actual, a, b))
            for number, (expected, actual) in enumerate(zip(reference, converted, strict=True), 1)
            for a, b in match_boxes(expected, actual, MATCHED)
        ]

    def compute(reference: Sequence[Poses], converted: Sequence[Poses]) -> float | None:
        points = [each for _, _, each in found(reference, converted) if each.size]
        return float(np.concatenate(points).mean()) if points else None

    def explain(reference: Sequence[Poses], converted: Sequence[Poses]) -> str:
        lines = [
            f"image {number}: keypoint {index} of {name} differs"
            for number, name, each in found(reference, converted)
            for index in np.flatnonzero(~each)
        ]
        return shortened(lines)

    return Metric(
        name=f"keypoints (within {distance:g} of the object's size, visibility within {visibility:g})",
        task="pose",
        reason="each keypoint is at the same position, and as visible",
        compute=compute,
        minimum=1.0,
        explain=explain,
    )


def describe_keypoints(expected: Poses, actual: Poses) -> str:
    pairs = match_boxes(expected, actual, MATCHED)
    if not pairs:
        return ""
    left, right = map(list, zip(*pairs, strict=True))
    apart = np.abs(expected.points[left][..., :2] - actual.points[right][..., :2])
    return f"keypoints within {digits(max(float(apart.max(initial=0)), 0.001), 2)} px"
