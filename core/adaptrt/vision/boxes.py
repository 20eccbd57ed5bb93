"""Box coordinates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.predictions import ImageMeta


_TWO = np.float32(2)


def corners_from_centers(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [N, 4], cx cy w h to x1 y1 x2 y2."""
    centers, half = boxes[:, :2], boxes[:, 2:] / _TWO
    corners = np.empty((len(boxes), 4), np.float32)
    np.subtract(centers, half, out=corners[:, :2])
    np.add(centers, half, out=corners[:, 2:])
    return corners


def boxes_to_original(boxes: NDArray[np.float32], meta: ImageMeta) -> NDArray[np.float32]:
    """Boxes, float32 [N, 4] x1 y1 x2 y2, from input pixels to pixels of the original image, clipped to it."""
    height, width = meta.original_size
    (scale_y, scale_x), (offset_y, offset_x) = meta.scale, meta.offset
    moved = boxes - np.array([offset_x, offset_y, offset_x, offset_y], np.float32)
    moved /= np.array([scale_x, scale_y, scale_x, scale_y], np.float32)
    return np.clip(moved, np.float32(0), np.array([width, height, width, height], np.float32), out=moved)
