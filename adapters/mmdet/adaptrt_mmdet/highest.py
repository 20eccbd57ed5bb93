"""The best scores of each image, in the order of mmdet, and the boxes that belong to them."""

from __future__ import annotations

import torch


def highest(scores: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The ``count`` highest of [B, N], the best first, and their indices; of equal scores the lower index first.

    That is the order of mmdet, which sorts, and of ONNX's TopK. ``torch.topk``, which is exported, leaves it open in torch itself: there,
    scores that are equal in float32, such as sigmoids of large numbers, came in another order.
    """
    if torch.jit.is_tracing() or torch.onnx.is_in_onnx_export():
        best, index = scores.topk(count, dim=1)
        return best, index
    best, index = scores.sort(dim=1, descending=True, stable=True)
    return best[:, :count], index[:, :count]


def rows_at(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Rows [B, K, 4] of [B, N, 4] at indices [B, K]."""
    return values.gather(1, torch.stack([index] * 4, -1))
