"""mmdet's sine positional encoding, ``SinePositionalEncoding``, as tokens: a constant, or traced from sizes or a mask."""

from __future__ import annotations

from typing import Any

import torch


def constant_positions(encoding: Any, height: int, width: int) -> torch.Tensor:
    """mmdet's own encoding for a feature map of this size: float32 [1, cells, E]."""
    with torch.no_grad():
        positions: torch.Tensor = encoding(torch.zeros(1, height, width, dtype=torch.bool))
    return positions.flatten(2).transpose(1, 2).contiguous()


def traced_positions(encoding: Any, feature: torch.Tensor) -> torch.Tensor:
    """For a size known at run time only, the same for every image: float32 [1, cells, E]."""
    height, width = feature.shape[2], feature.shape[3]
    rows = torch.arange(1, height + 1, dtype=torch.float32).view(1, -1, 1)
    columns = torch.arange(1, width + 1, dtype=torch.float32).view(1, 1, -1)
    y = _waves(encoding, _normalized(encoding, rows, rows[:, -1:]))  # (1, H, 1, E/2)
    x = _waves(encoding, _normalized(encoding, columns, columns[:, :, -1:]))  # (1, 1, W, E/2)
    half = int(encoding.num_feats)
    y, x = y.expand(1, height, width, half), x.expand(1, height, width, half)
    return torch.cat([y, x], -1).flatten(1, 2)


def masked_positions(encoding: Any, padding: torch.Tensor, *, static: bool) -> torch.Tensor:
    """For images with padding: float32 [B, h, w], 1 where padded, to [B, cells, E].

    For a fixed size, cumulative sums are products with a triangular matrix of ones, which every backend supports.
    """
    valid = 1 - padding
    if static:
        height, width = int(padding.shape[1]), int(padding.shape[2])
        y = torch.ones(height, height).tril() @ valid  # rows from above
        x = valid @ torch.ones(width, width).triu()  # columns from the left
        last_y, last_x = y[:, height - 1 :], x[:, :, width - 1 :]
    else:
        y, x = valid.cumsum(1), valid.cumsum(2)
        last_y, last_x = y[:, -1:], x[:, :, -1:]
    y = _waves(encoding, _normalized(encoding, y, last_y))
    x = _waves(encoding, _normalized(encoding, x, last_x))
    tokens = torch.cat([y, x], -1)  # (B, h, w, E)
    return tokens.reshape(-1, height * width, tokens.shape[-1]) if static else tokens.flatten(1, 2)


def _normalized(encoding: Any, counts: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    if not encoding.normalize:
        return counts
    normalized: torch.Tensor = (counts + encoding.offset) / (last + encoding.eps) * encoding.scale
    return normalized


def _waves(encoding: Any, angles: torch.Tensor) -> torch.Tensor:
    """Alternating sines and cosines along a new last axis."""
    numbers = torch.arange(int(encoding.num_feats), dtype=torch.float32)
    periods = encoding.temperature ** (2 * (numbers // 2) / encoding.num_feats)
    angles = angles[..., None] / periods.detach()
    even = (numbers % 2 == 0).detach()
    return torch.where(even, angles.sin(), angles.cos())
