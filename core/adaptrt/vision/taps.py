"""OpenCV's resampling of uint8 images as integer weights of source pixels along each axis.

OpenCV resizes an axis at a time in fixed-point arithmetic, so a kernel that has these weights gives the same pixels, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.specs.image import ImageTransform

_UNIT = 2048  # weights have 11 bits


@dataclass(frozen=True, eq=False)
class Taps:
    """int32 [pixels, taps, 2]: which source pixels a pixel is made of, and with what weight; for rows and for columns.

    There are two taps, or one where a pixel is copied.
    """

    rows: NDArray[np.int32]
    columns: NDArray[np.int32]

    @property
    def copies(self) -> bool:
        return int(self.rows.shape[1]) == 1


def taps_of(
    transform: ImageTransform, source: tuple[int, int], target: tuple[int, int], channels: int = 3
) -> Taps | None:
    """The weights that resize ``source`` (height, width) to ``target``; ``None`` if they cannot express the result.

    OpenCV computes ``cubic`` and ``area`` in float32, in an order that depends on the processor, and so it does exact halves of
    images with other numbers of channels than 1, 3 and 4. Pillow's order of the two axes depends on its version.
    """
    if source == target:
        return Taps(_identity(target[0]), _identity(target[1]))
    if transform.library != "cv2":
        return None
    if transform.interpolation == "linear":
        if source == (2 * target[0], 2 * target[1]) and channels not in (1, 3, 4):
            return None
        return Taps(_linear_rows(source[0], target[0]), _linear_columns(source[1], target[1]))
    if transform.interpolation == "nearest":
        return Taps(_nearest(source[0], target[0]), _nearest(source[1], target[1]))
    return None


def resample(image: NDArray[np.uint8], taps: Taps) -> NDArray[np.uint8]:
    """uint8 [H, W, C] to uint8 [h, w, C] in NumPy, as the kernel does it: to test its weights and arithmetic."""
    if taps.copies:
        return np.ascontiguousarray(image[taps.rows[:, 0, 0]][:, taps.columns[:, 0, 0]])
    columns, weights = taps.columns[..., 0], taps.columns[..., 1]
    lines = (image[:, columns].astype(np.int32) * weights[None, :, :, None]).sum(2, dtype=np.int32)
    rows, weights = taps.rows[..., 0], taps.rows[..., 1][:, :, None, None]
    sums: NDArray[Any] = ((lines[rows] >> 4) * weights >> 16).sum(1, dtype=np.int32)
    return ((sums + 2) >> 2).astype(np.uint8)


@lru_cache(maxsize=256)
def _identity(size: int) -> NDArray[np.int32]:
    return _table(np.arange(size)[:, None], np.ones((size, 1)))


def _table(places: NDArray[Any], weights: NDArray[Any]) -> NDArray[np.int32]:
    table = np.stack([places, weights], axis=2).astype(np.int32)
    table.flags.writeable = False  # it is cached
    return table


def _scale(source: int, target: int) -> float:
    """Two divisions, as in cv::resize: the second one does not undo the rounding of the first."""
    return 1.0 / (target / source)


def _positions(source: int, target: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The pixel left of each position, and the fraction of the way to the next."""
    exact = ((np.arange(target) + 0.5) * _scale(source, target) - 0.5).astype(np.float32)
    left = np.floor(exact)
    return left.astype(np.int64), exact - left


def _weights(fraction: NDArray[np.float32]) -> NDArray[Any]:
    unit = np.float32(_UNIT)
    return np.stack([np.rint((np.float32(1) - fraction) * unit), np.rint(fraction * unit)], axis=1)


@lru_cache(maxsize=256)
def _linear_columns(source: int, target: int) -> NDArray[np.int32]:
    """Beyond the first and the last column, the weights are those of that column alone."""
    left, fraction = _positions(source, target)
    outside = (left < 0) | (left >= source - 1)
    left = left.clip(0, source - 1)
    places = np.stack([left, (left + 1).clip(0, source - 1)], axis=1)
    return _table(places, _weights(np.where(outside, np.float32(0), fraction)))


@lru_cache(maxsize=256)
def _linear_rows(source: int, target: int) -> NDArray[np.int32]:
    """Beyond the first and the last row, the row is repeated and the weights stay: their products are rounded apart."""
    above, fraction = _positions(source, target)
    return _table(np.stack([above, above + 1], axis=1).clip(0, source - 1), _weights(fraction))


@lru_cache(maxsize=256)
def _nearest(source: int, target: int) -> NDArray[np.int32]:
    places = np.floor(np.arange(target) * _scale(source, target)).astype(np.int64).clip(0, source - 1)
    return _table(places[:, None], np.ones((target, 1)))
