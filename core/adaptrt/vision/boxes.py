"""Box coordinates."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.predictions import ImageMeta


_ZERO = np.float32(0)
_HALVES = np.array([[-0.5], [0.5]], np.float32)


def corners_from_centers(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [N, 4], cx cy w h to x1 y1 x2 y2."""
    corners = boxes[:, None, 2:] * _HALVES
    corners += boxes[:, None, :2]
    return corners.reshape(-1, 4)


def boxes_to_original(boxes: NDArray[np.float32], meta: ImageMeta) -> NDArray[np.float32]:
    """Boxes, float32 [N, 4] x1 y1 x2 y2, from input pixels to pixels of the original image, clipped to it."""
    return mapped_boxes(boxes, mapping_of(meta))


@lru_cache(maxsize=256)
def mapping_of(meta: ImageMeta) -> NDArray[np.float32]:
    """Offset, scale and limit of x1 y1 x2 y2, float32 [12], read-only."""
    height, width = meta.original_size
    (scale_y, scale_x), (offset_y, offset_x) = meta.scale, meta.offset
    mapping = np.array((offset_x, offset_y) * 2 + (scale_x, scale_y) * 2 + (width, height) * 2, np.float32)
    mapping.setflags(write=False)
    return mapping


def mapped_boxes(boxes: NDArray[np.float32], mapping: NDArray[np.float32]) -> NDArray[np.float32]:
    """Boxes moved by one mapping, or each by its own, float32 [N, 12]."""
    moved = boxes - mapping[..., 0:4]
    moved /= mapping[..., 4:8]
    return moved.clip(_ZERO, mapping[..., 8:12], out=moved)
