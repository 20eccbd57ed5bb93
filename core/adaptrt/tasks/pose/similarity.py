"""Object keypoint similarity (OKS), and how well two sets of keypoints agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adaptrt.quantities import digits
from adaptrt.tasks.detect.agreement import MATCHED, match_boxes, mean_of_matched

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.contributions import Metric
    from adaptrt.predictions import Poses

_COCO = (26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89)


def sigmas(count: int) -> NDArray[np.float64]:
    """How far each keypoint may be off, as a part of the object's size: COCO's for 17 keypoints, else 1 / count, as
    Ultralytics does."""
    return np.array(_COCO) / 1000 if count == len(_COCO) else np.full(count, 1 / max(count, 1))


def keypoint_similarity(expected: Poses, actual: Poses) -> list[float]:
    """OKS of the objects whose boxes have a match, 0 to 1; points with no visibility on both sides are ignored."""
    found = []
    spread = (2 * sigmas(expected.points.shape[1])) ** 2
    for a, b in match_boxes(expected, actual, MATCHED):
        first, second = expected.points[a].astype(np.float64), actual.points[b].astype(np.float64)
        width, height = expected.boxes[a, 2:] - expected.boxes[a, :2]
        counted = (first[:, 2] > 0) | (second[:, 2] > 0)
        distances = ((first[:, :2] - second[:, :2]) ** 2).sum(1)
        similar = np.exp(-distances / (2 * spread * max(float(width * height), 1.0)))
        found.append(float(similar[counted].mean()) if counted.any() else 1.0)
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


def describe_keypoints(expected: Poses, actual: Poses) -> str:
    pairs = match_boxes(expected, actual, MATCHED)
    if not pairs:
        return ""
    left, right = map(list, zip(*pairs, strict=True))
    apart = np.abs(expected.points[left][..., :2] - actual.points[right][..., :2])
    return f"keypoints within {digits(max(float(apart.max(initial=0)), 0.001), 2)} px"
