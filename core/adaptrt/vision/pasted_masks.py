"""Small masks of boxes, as two-stage detectors give them, enlarged to pixels of an image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from adaptrt.predictions import Mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]


def paste(mask: Floats, box: Floats, size: tuple[int, int], threshold: float) -> Mask:
    """The pixels of an object: its probabilities, [h, w], enlarged to its box, x1 y1 x2 y2 in pixels of an image of ``size``.

    As in mmdet and detectron2: linear, zero outside of the box. A pixel around the box is included, since interpolation
    reaches beyond the box by half a cell.
    """
    left, top = (max(math.floor(side) - 1, 0) for side in box[:2])
    right, bottom = (min(math.ceil(side) + 1, most) for side, most in zip(box[2:], size[::-1], strict=True))
    right, bottom = max(right, left), max(bottom, top)
    down = _samples(np.arange(top, bottom), box[1], box[3], mask.shape[0])
    across = _samples(np.arange(left, right), box[0], box[2], mask.shape[1])
    return Mask(down @ mask @ across.T >= threshold, min(left, size[1]), min(top, size[0]))


def _samples(pixels: NDArray[np.int64], start: np.float32, stop: np.float32, cells: int) -> Floats:
    """float32 [n, cells]: linear interpolation at pixel centers between centers of cells, zero outside of them."""
    with np.errstate(divide="ignore", invalid="ignore"):  # boxes without area
        places = (pixels.astype(np.float32) + np.float32(0.5) - start) / (stop - start) * np.float32(2) - np.float32(1)
    places = np.where(np.isfinite(places), places, np.float32(0))
    places = ((places + np.float32(1)) * np.float32(cells) - np.float32(1)) / np.float32(2)
    before = np.floor(places)
    part = places - before
    matrix = np.zeros((len(pixels), cells), np.float32)
    for cell, weight in ((before, 1 - part), (before + 1, part)):
        rows = np.flatnonzero((cell >= 0) & (cell < cells))
        matrix[rows, cell[rows].astype(np.int64)] += weight[rows]
    return matrix
