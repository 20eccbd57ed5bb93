"""Masks of lower resolution, enlarged to pixels of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adaptrt.predictions import Mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]


def linear_resize(size: int, wanted: int) -> Floats:
    """float32 [wanted, size]: linear interpolation between pixel centers, the edge repeated, as torch's ``interpolate``."""
    centers = np.clip((np.arange(wanted) + 0.5) * (size / wanted) - 0.5, 0, size - 1)
    before = np.floor(centers).astype(np.int64)
    part = (centers - before).astype(np.float32)
    matrix = np.zeros((wanted, size), np.float32)
    rows = np.arange(wanted)
    matrix[rows, before] = 1 - part
    matrix[rows, np.minimum(before + 1, size - 1)] += part
    return matrix


def enlarged_mask(logits: Floats, down: Floats, across: Floats) -> tuple[Mask, Floats]:
    """The mask where ``logits``, enlarged to the image by matrices for rows and columns, are above 0, and their values in its box.

    Only the part that can be above 0 is computed.
    """
    above = logits > 0
    rows, columns = (_reached(matrix, np.asarray(above.any(axis))) for matrix, axis in ((down, 1), (across, 0)))
    enlarged = down[rows] @ logits @ across[columns].T
    bitmap = enlarged > 0
    if not bitmap.any():
        return Mask(np.zeros((0, 0), np.bool_), 0, 0), enlarged[:0, :0]
    used = [np.flatnonzero(bitmap.any(axis)) for axis in (1, 0)]
    (top, bottom), (left, right) = ((int(found[0]), int(found[-1]) + 1) for found in used)
    box = slice(top, bottom), slice(left, right)
    return Mask(bitmap[box], columns.start + left, rows.start + top), enlarged[box]


def _reached(matrix: Floats, cells: NDArray[np.bool_]) -> slice:
    """The pixels to which one of ``cells`` contributes, and those between them."""
    pixels = np.flatnonzero(matrix[:, cells].any(axis=1))
    return slice(int(pixels[0]), int(pixels[-1]) + 1) if len(pixels) else slice(0, 0)
