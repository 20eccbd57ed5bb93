"""Rotated boxes: overlap and NMS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adaptrt.predictions import corners_of
from adaptrt.vision.nms import CLASS_OFFSET, MAX_CANDIDATES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

_BLOCK = 256
_EPSILON = 1e-7


def probabilistic_iou(first: Floats, second: Floats) -> Floats:
    """Overlap of boxes modeled as Gaussians, [N, 5] and [M, 5] (cx cy w h angle) to float32 [N, M], 0 to 1.

    One minus the Hellinger distance (https://arxiv.org/abs/2106.06072), computed as Ultralytics does.
    """
    eps = np.float32(_EPSILON)
    (a1, b1, c1), (a2, b2, c2) = (tuple(part[:, None] for part in _covariance(first)), _covariance(second))
    dx, dy = second[:, 0] - first[:, :1], first[:, 1:2] - second[:, 1]
    a, b, c = a1 + a2, b1 + b2, c1 + c2
    determinant = a * b - c * c
    apart = (a * dy * dy + b * dx * dx) / (determinant + eps) / 4 + c * dx * dy / (determinant + eps) / 2
    areas = np.maximum(a1 * b1 - c1 * c1, 0) * np.maximum(a2 * b2 - c2 * c2, 0)
    apart += np.log(determinant / (4 * np.sqrt(areas) + eps) + eps) / 2
    found: Floats = 1 - np.sqrt(1 - np.exp(-np.clip(apart, eps, np.float32(100))) + eps)
    return found


def _covariance(boxes: Floats) -> tuple[Floats, Floats, Floats]:
    """Variances in x and y, and covariance, of a box as wide as a Gaussian."""
    across, along = boxes[:, 2] ** 2 / np.float32(12), boxes[:, 3] ** 2 / np.float32(12)
    cos, sin = np.cos(boxes[:, 4]), np.sin(boxes[:, 4])
    return (
        across * cos * cos + along * sin * sin,
        across * sin * sin + along * cos * cos,
        (across - along) * cos * sin,
    )


def rotated_nms_by_class(
    boxes: Floats, scores: Floats, labels: NDArray[np.int64], *, iou: float, max_det: int, agnostic: bool
) -> NDArray[np.int64]:
    """The indices of the boxes to keep, best score first, at most ``max_det``. ``boxes``: float32 [N, 5].

    Fast NMS, as Ultralytics does it: a box is removed if any better one of its class overlaps it by a ``probabilistic_iou`` of
    more than ``iou``, whether that one is kept or not. Only the ``MAX_CANDIDATES`` best are considered.
    """
    order = np.argsort(-scores, kind="stable")[:MAX_CANDIDATES]
    ranked = boxes[order].astype(np.float32, copy=True)
    if not agnostic:
        ranked[:, :2] += labels[order, None].astype(np.float32) * np.float32(CLASS_OFFSET)
    stays = np.zeros(len(ranked), np.bool_)
    for start in range(0, len(ranked), _BLOCK):
        block = ranked[start : start + _BLOCK]
        overlaps = probabilistic_iou(ranked[: start + len(block)], block) > iou
        better = np.arange(len(overlaps))[:, None] < start + np.arange(len(block))
        stays[start : start + _BLOCK] = ~(overlaps & better).any(axis=0)
        if stays.sum() >= max_det:
            break
    return order[np.flatnonzero(stays)[:max_det]]


def rotated_iou(first: Floats, second: Floats) -> NDArray[np.float64]:
    """The exact IoU of every pair: [N, 5] and [M, 5] (cx cy w h angle) to [N, M]. Equal boxes have 1."""
    found = np.zeros((len(first), len(second)))
    polygons = [corners_of(boxes).astype(np.float64) for boxes in (first, second)]
    reach = [np.hypot(boxes[:, 2], boxes[:, 3]) / 2 for boxes in (first, second)]
    gaps = np.hypot(first[:, :1] - second[:, 0], first[:, 1:2] - second[:, 1])
    areas = [boxes[:, 2].astype(np.float64) * boxes[:, 3] for boxes in (first, second)]
    for row, column in np.argwhere(gaps <= reach[0][:, None] + reach[1]):
        shared = _area(_clip(polygons[0][row], polygons[1][column]))
        union = areas[0][row] + areas[1][column] - shared
        found[row, column] = 1.0 if (first[row] == second[column]).all() else shared / max(union, 1e-12)
    return np.clip(found, 0, 1)


def _clip(polygon: NDArray[np.float64], window: NDArray[np.float64]) -> NDArray[np.float64]:
    """The part of a convex polygon, [n, 2], inside of another, edge by edge (Sutherland and Hodgman)."""
    if _signed_area(window) < 0:
        window = window[::-1]
    for start, end in zip(window, np.roll(window, -1, axis=0), strict=True):
        if not len(polygon):
            break
        edge = end - start
        sides = edge[0] * (polygon[:, 1] - start[1]) - edge[1] * (polygon[:, 0] - start[0])  # 0 and up: inside
        kept = []
        for index, point in enumerate(polygon):
            following = (index + 1) % len(polygon)
            here, there = sides[index], sides[following]
            if here >= 0:
                kept.append(point)
            if (here > 0 > there) or (here < 0 < there):
                kept.append(point + (polygon[following] - point) * (here / (here - there)))
        polygon = np.array(kept).reshape(-1, 2)
    return polygon


def _signed_area(polygon: NDArray[np.float64]) -> float:
    x, y = polygon[:, 0], polygon[:, 1]
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def _area(polygon: NDArray[np.float64]) -> float:
    return abs(_signed_area(polygon)) if len(polygon) > 2 else 0.0
