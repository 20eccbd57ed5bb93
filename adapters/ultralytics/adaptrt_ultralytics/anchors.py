"""Feature maps and their anchor points as plain numbers, which end as constants in a graph."""

from __future__ import annotations

import numpy as np
import torch


def cell_counts(feature: torch.Tensor) -> tuple[int, int]:
    """Height and width of a feature map as plain numbers."""
    return int(feature.shape[2]), int(feature.shape[3])


def anchor_points(sizes: list[tuple[int, int]], strides: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Cell centers [2, N] (x, y, in cells) and strides [1, N], level by level, row by row."""
    points, scales = [], []
    for (height, width), stride in zip(sizes, strides, strict=True):
        y, x = np.mgrid[:height, :width].astype(np.float32) + 0.5
        points.append(np.stack([x.ravel(), y.ravel()]))
        scales.append(np.full((1, height * width), stride, np.float32))
    return torch.from_numpy(np.concatenate(points, 1)), torch.from_numpy(np.concatenate(scales, 1))
