"""Area attention as the authors of YOLOv12 train it: queries and keys in one convolution, values in another."""

from __future__ import annotations

from torch import Tensor, nn


class SplitAreaAttention(nn.Module):
    """``AAttn`` with the children ``qk``, ``v``, ``pe``, ``proj``, written so that it exports without shape arithmetic.

    The feature map [B, C, H, W] is cut into ``area`` runs of cells, row by row; attention stays within a run. What
    ``pe`` gives for the values is added before the projection.
    """

    area: int
    num_heads: int
    head_dim: int
    qk: nn.Module
    v: nn.Module
    pe: nn.Module
    proj: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        height, width = int(x.shape[2]), int(x.shape[3])
        channels, cells = self.num_heads * self.head_dim, height * width // self.area
        values = self.v(x)
        position = self.pe(values)
        queries, keys = self.qk(x).split([channels, channels], dim=1)
        q, k, v = (self._heads(tensor, channels, cells) for tensor in (queries, keys, values))
        weights = ((q.transpose(-2, -1) @ k) * self.head_dim**-0.5).softmax(-1)  # (B * area, heads, cells, cells)
        mixed = (v @ weights.transpose(-2, -1)).permute(0, 3, 1, 2)  # (B * area, cells, heads, head_dim)
        mixed = mixed.reshape(-1, height, width, channels).permute(0, 3, 1, 2)
        result: Tensor = self.proj(mixed + position)
        return result

    def _heads(self, tensor: Tensor, channels: int, cells: int) -> Tensor:
        """[B, C, H, W] to [B * area, heads, head_dim, cells]."""
        rows = tensor.reshape(-1, channels, self.area * cells).transpose(1, 2).reshape(-1, cells, channels)
        return rows.transpose(1, 2).reshape(-1, self.num_heads, self.head_dim, cells)
