"""Deformable attention without ``grid_sample``: bilinear sampling as gathers and products, with constant sizes.

``grid_sample`` becomes ONNX's GridSample, which TensorRT computes at the precision of the layers around it, with
coordinates from -1 to 1: in half precision a feature map of 80 cells is sampled up to a twentieth of a cell off. Here
coordinates are cells in float32, and the exported graph holds ordinary operators only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def deformable_attention(value: Tensor, sizes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor) -> Tensor:
    """Samples of feature maps at ``locations``, weighted: float32 [B, Q, heads * d].

    ``value``: [B, S, heads, d], the cells of every level one after another, row by row. ``sizes``: rows and columns of each
    level. ``locations``: [B, Q, heads, L * P, 2], x and y as fractions of the sides, the points of a level together.
    ``weights``: [B, Q, heads, L * P]. Cells outside of a map are zero. The batch may be symbolic, all else is fixed.
    """
    cells, heads, width = (int(size) for size in value.shape[1:])
    queries, samples = int(locations.shape[1]), int(locations.shape[3])
    areas = [h * w for h, w in sizes]
    if sum(areas) != cells or samples % len(sizes):
        raise ValueError(f"{cells} cells and {samples} samples do not fit levels of {list(sizes)}")
    by_level = [[float(w), float(h), float(sum(areas[:level]))] for level, (h, w) in enumerate(sizes)]
    constants = torch.tensor(by_level, dtype=torch.float32, device=value.device)
    constants = constants.repeat_interleave(samples // len(sizes), 0)  # (L * P, 3): columns, rows, the first cell
    extent, columns, rows, first = constants[:, :2], constants[:, 0], constants[:, 1], constants[:, 2]

    maps = value.permute(0, 2, 3, 1).reshape(-1, width, cells)  # (B * heads, d, S)
    places = locations.permute(0, 2, 1, 3, 4).reshape(-1, queries, samples, 2).float() * extent - 0.5
    x, y = places[..., 0], places[..., 1]
    left, above = x.floor(), y.floor()
    shares = weights.permute(0, 2, 1, 3).reshape(-1, queries, samples)
    total = torch.zeros((), device=value.device)
    for across in (0.0, 1.0):
        for down in (0.0, 1.0):
            column, row = left + across, above + down
            near = (1 - (x - column).abs()) * (1 - (y - row).abs())
            inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
            column = torch.minimum(column.clamp(min=0), columns - 1)
            row = torch.minimum(row.clamp(min=0), rows - 1)
            index = (first + row * columns + column).long().reshape(-1, 1, queries * samples).repeat(1, width, 1)
            share = (near * inside.to(near.dtype) * shares).reshape(-1, 1, queries * samples)
            total = total + maps.gather(2, index) * share
    total = total.reshape(-1, width, queries, samples).sum(-1)  # (B * heads, d, Q)
    return total.reshape(-1, heads * width, queries).transpose(1, 2)
