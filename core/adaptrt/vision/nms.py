"""Non-maximum suppression in numpy, with the results of ``torchvision.ops.nms`` as Ultralytics calls it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLASS_OFFSET = 7680.0
"""Pixels that move the boxes of one class away from those of the next, so that they never overlap."""

MAX_CANDIDATES = 30_000
_BLOCK = 256


def nms_by_class(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    iou: float = 0.7,
    max_det: int = 300,
    agnostic: bool = False,
) -> NDArray[np.int64]:
    """The indices of the boxes to keep, best score first (the first of equals first), at most ``max_det``.

    ``boxes``: float32 [N, 4], x1 y1 x2 y2. A box goes if a better one of its class (of any, if ``agnostic``) overlaps
    it by more than ``iou``. Only the ``MAX_CANDIDATES`` best take part.
    """
    order = np.argsort(-scores, kind="stable")[:MAX_CANDIDATES]
    ranked = boxes[order]
    if not agnostic:
        ranked = ranked + labels[order, None].astype(np.float32) * np.float32(CLASS_OFFSET)
    return order[_keep_ranked(ranked, _largest_float32_up_to(iou), max_det)]


def _keep_ranked(boxes: NDArray[np.float32], iou: np.float32, max_det: int) -> NDArray[np.int64]:
    """Positions kept of boxes that are sorted by score. Block by block: the IoU of all pairs of a block at once, the
    greedy choice inside it, then what was chosen suppresses everything that follows."""
    waiting = np.arange(len(boxes))
    kept: list[int] = []
    while len(waiting) and len(kept) < max_det:
        block, waiting = waiting[:_BLOCK], waiting[_BLOCK:]
        chosen = block[_keep_greedily(_overlaps(boxes[block], boxes[block], iou))]
        kept.extend(chosen)
        if len(waiting):
            waiting = waiting[~_overlaps(chosen_boxes, boxes[waiting], iou).any(axis=0)] if len(chosen_boxes := boxes[chosen]) else waiting
    return np.array(kept[:max_det], np.int64)


def _keep_greedily(overlaps: NDArray[np.bool_]) -> NDArray[np.int64]:
    """``overlaps``: bool [n, n] of boxes in falling order of score."""
    alive = np.ones(len(overlaps), np.bool_)
    for i in np.flatnonzero(np.triu(overlaps, 1).any(axis=1)):
        if alive[i]:
            alive[i + 1 :] &= ~overlaps[i, i + 1 :]
    return np.flatnonzero(alive)


def _overlaps(a: NDArray[np.float32], b: NDArray[np.float32], iou: np.float32) -> NDArray[np.bool_]:
    """bool [A, B]: whether the intersection over union is above ``iou``; float32 throughout, as in torchvision."""
    sides_a, sides_b = a[:, 2:] - a[:, :2], b[:, 2:] - b[:, :2]
    areas_a, areas_b = sides_a[:, 0] * sides_a[:, 1], sides_b[:, 0] * sides_b[:, 1]
    width = np.minimum(a[:, None, 2], b[:, 2]) - np.maximum(a[:, None, 0], b[:, 0])
    height = np.minimum(a[:, None, 3], b[:, 3]) - np.maximum(a[:, None, 1], b[:, 1])
    shared = np.maximum(width, 0, out=width) * np.maximum(height, 0, out=height)
    with np.errstate(divide="ignore", invalid="ignore"):  # boxes without area
        above: NDArray[np.bool_] = shared / (areas_a[:, None] + areas_b - shared) > iou
    return above


def _largest_float32_up_to(value: float) -> np.float32:
    """``x > value`` for float32 ``x`` and a double ``value`` is ``x >`` this; torchvision compares with the double."""
    rounded = np.float32(value)
    return np.nextafter(rounded, np.float32(-np.inf)) if float(rounded) > value else rounded
