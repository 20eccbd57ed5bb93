"""The order of tokens when an image is partitioned into windows: for a fixed size, shift, padding and partition are one
permutation, known before anything runs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Order = NDArray[np.int64]


def window_order(size: tuple[int, int], window: tuple[int, int], shift: tuple[int, int]) -> Order:
    """For each position in window order, the index of its token, counted row by row: [windows * window area].

    As in timm, the image is first shifted cyclically, then padded at the bottom and right to whole windows. Padding
    positions have the index ``height * width``, one past the last token.
    """
    height, width = size
    tokens = np.arange(height * width, dtype=np.int64).reshape(size)
    tokens = np.roll(tokens, (-shift[0], -shift[1]), (0, 1))
    bottom, right = -height % window[0], -width % window[1]
    tokens = np.pad(tokens, ((0, bottom), (0, right)), constant_values=height * width)
    rows, columns = (height + bottom) // window[0], (width + right) // window[1]
    windows = tokens.reshape(rows, window[0], columns, window[1]).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(windows.reshape(-1))


def inverse(order: Order, tokens: int) -> Order:
    """For each token its position in ``order``: [tokens]."""
    positions = np.empty(tokens + 1, np.int64)
    positions[order] = np.arange(len(order))
    return positions[:tokens]


def is_identity(order: Order) -> bool:
    return bool((order == np.arange(len(order))).all())
