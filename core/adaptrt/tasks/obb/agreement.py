"""How well two sets of rotated boxes agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adaptrt.tasks.detect.agreement import MATCHED, describe_pairs, match_overlaps
from adaptrt.vision.rotated import rotated_iou

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.predictions import RotatedDetections


def rotated_of(prediction: RotatedDetections) -> NDArray[np.float32]:
    return np.zeros((0, 5), np.float32) if prediction.rotated is None else prediction.rotated


def match_rotated(first: RotatedDetections, second: RotatedDetections, iou: float) -> list[tuple[int, int]]:
    """Pairs of equal label and at least this rotated IoU, the best first, each box used once."""
    return match_overlaps(rotated_iou(rotated_of(first), rotated_of(second)), first, second, iou)


def describe_rotated(expected: RotatedDetections, actual: RotatedDetections) -> str:
    pairs = match_rotated(expected, actual, MATCHED)
    return describe_pairs(expected, actual, pairs, (expected.polygons, actual.polygons), "corners ")
