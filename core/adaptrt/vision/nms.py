"""Non-maximum suppression in numpy, with the results of ``torchvision.ops.nms`` as Ultralytics calls it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLASS_OFFSET = 7680.0
"""Offset in pixels between the boxes of consecutive classes, so that they never overlap."""

MAX_CANDIDATES = 30_000
PAIRS = 128
"""Up to so many boxes, to compare all pairs is faster than one box after another."""


def nms_by_class(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    iou: float = 0.7,
    max_det: int = 300,
    agnostic: bool = False,
    class_offset: float | None = CLASS_OFFSET,
) -> NDArray[np.int64]:
    """The indices of the boxes to keep, best score first (the first of equals first), at most ``max_det``.

    ``boxes``: float32 [N, 4], x1 y1 x2 y2. A box is removed if a better one of its class (of any, if ``agnostic``)
    overlaps it by more than ``iou``. Only the ``MAX_CANDIDATES`` best are considered. ``class_offset`` is the offset in
    pixels between consecutive classes; ``None`` takes the largest coordinate plus 1, as mmcv does.
    """
    order = (-scores).argsort(kind="stable")[:MAX_CANDIDATES]
    ranked = boxes[order]
    if not agnostic and len(boxes):
        offset = boxes.max() + np.float32(1) if class_offset is None else np.float32(class_offset)
        ranked = moved_by_class(ranked, labels[order], offset)
    return order[_keep_ranked(ranked, largest_float32_up_to(iou), max_det)]


def moved_by_class(boxes: NDArray[np.float32], labels: NDArray[np.int64], offset: np.float32) -> NDArray[np.float32]:
    """So that boxes of different classes do not overlap."""
    return boxes + labels[:, None].astype(np.float32) * offset


def nms_of_pairs(boxes: NDArray[np.float32], group: NDArray[np.intp], iou: float) -> NDArray[np.int64]:
    """The indices of the boxes to keep among those of the same ``group``, sorted by score there; all pairs are compared at once."""
    corners = np.ascontiguousarray(boxes.T)
    overlaps = _overlaps(corners, corners, largest_float32_up_to(iou))
    overlaps &= group[:, None] == group
    return _choose_greedily(overlaps)


def nms_of_groups(
    boxes: NDArray[np.float32], group: NDArray[np.int64], iou: float, rounds: int
) -> NDArray[np.bool_] | None:
    """Which boxes to keep, bool [N], among those of the same ``group``; ``None``: more rounds than these are needed.

    The boxes are sorted by group, then by score. In each round, the best that is left of every group is kept, and removes others:
    a batch of images takes as many rounds as the fullest group keeps boxes.
    """
    limit = largest_float32_up_to(iou)
    stays = np.zeros(len(boxes), np.bool_)
    left, corners = np.arange(len(boxes)), np.ascontiguousarray(boxes.T)
    for _ in range(rounds):
        if not len(left):
            return stays
        first = np.empty(len(left), np.bool_)
        first[0] = True
        np.not_equal(group[1:], group[:-1], out=first[1:])
        starts = first.nonzero()[0]
        stays[left[starts]] = True
        if len(starts) == len(left):
            return stays
        counts = np.append(starts[1:], len(left)) - starts
        best = corners[:, starts].repeat(counts, axis=1)
        rest = ~(_overlap(best, corners, limit) | first)
        left, corners, group = left[rest], corners[:, rest], group[rest]
    return None if len(left) else stays


def _keep_ranked(boxes: NDArray[np.float32], iou: np.float32, max_det: int) -> NDArray[np.int64]:
    """Indices of the boxes to keep; the boxes are sorted by score.

    Works in blocks: boxes kept in earlier blocks suppress those of the block, then the block is processed greedily. This
    limits the number of compared pairs, and blocks after the ``max_det``-th box are skipped.
    """
    corners = np.ascontiguousarray(boxes.T)  # [4, N]
    if len(boxes) <= PAIRS:
        return _choose_greedily(_overlaps(corners, corners, iou))[:max_det]
    kept = np.empty(0, np.int64)
    for start in range(0, len(boxes), PAIRS):
        block = np.arange(start, min(start + PAIRS, len(boxes)))
        if len(kept):
            block = block[~_overlaps(corners[:, kept], corners[:, block], iou).any(axis=0)]
        chosen = _choose_greedily(_overlaps(corners[:, block], corners[:, block], iou))
        kept = np.concatenate((kept, block[chosen]))
        if len(kept) >= max_det:
            break
    return kept[:max_det]


def _choose_greedily(overlaps: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Indices. ``overlaps``: bool [n, n] of boxes by descending score. A box is kept unless a kept one overlaps it."""
    count, data, kept = len(overlaps), overlaps.tobytes(), []
    # a byte for each box: Python's integers are faster than short arrays
    left = int.from_bytes(b"\1" * count, "little")
    while left:
        first = left & -left
        index = first.bit_length() // 8
        kept.append(index)
        left &= ~(first | int.from_bytes(data[index * count : (index + 1) * count], "little"))
    return np.array(kept, np.int64)


def _overlaps(a: NDArray[np.float32], b: NDArray[np.float32], iou: np.float32) -> NDArray[np.bool_]:
    """bool [..., A, B] for corners [4, ..., A] and [4, ..., B]: is the intersection over union above ``iou``? All in float32."""
    return _overlap(a[..., :, None], b[..., None, :], iou)


def _overlap(a: NDArray[np.float32], b: NDArray[np.float32], iou: np.float32) -> NDArray[np.bool_]:
    """The same for pairs of boxes, corners [4, ...] that broadcast."""
    sides = np.minimum(a[2:], b[2:])
    sides -= np.maximum(a[:2], b[:2])
    width, height = np.maximum(sides, 0, out=sides)
    shared = np.multiply(width, height, out=width)
    union = _area(a) + _area(b)
    union -= shared
    with np.errstate(divide="ignore", invalid="ignore"):  # boxes without area
        above: NDArray[np.bool_] = np.divide(shared, union, out=shared) > iou
    return above


def _area(corners: NDArray[np.float32]) -> NDArray[np.float32]:
    sides = corners[2:] - corners[:2]
    area: NDArray[np.float32] = sides[0] * sides[1]
    return area


def largest_float32_up_to(value: float) -> np.float32:
    """``x > value`` for float32 ``x`` and a double ``value`` is ``x >`` this; torchvision compares with the double."""
    rounded: np.float32 = np.float32(value)
    if float(rounded) > value:
        rounded = np.nextafter(rounded, np.float32(-np.inf))
    return rounded
