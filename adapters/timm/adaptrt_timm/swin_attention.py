"""Window attention with folded constants, and the number of keys padded for tensor cores.

``B`` batch, ``W`` windows, ``N`` tokens of a window, ``K`` keys of a window, ``h`` heads, ``d`` channels of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from adaptrt_timm.swin_form import Form

# kernels on tensor cores load 16 bytes at a time: eight values in half precision
ALIGNMENT = 8

# added to the score of a padding key: zero after softmax, and well within the range of half precision
NO_KEY = -10000.0


class FoldedAttention(nn.Module):
    """timm's ``WindowAttention`` with its mask: [B, W * N, h * d] in window order, to the same shape.

    The scale is folded into the query's weights; relative position bias and the mask of shifted windows are constants. Only
    the batch depends on the input, and tensors have at most four axes. Attention scores with an odd N are slow to compute
    and to normalize, so K keys are used: the N keys, and the first one repeated, with zero weight, up to a multiple of 8.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None
    position: torch.Tensor
    mask: torch.Tensor | None
    positions: torch.Tensor | None

    def __init__(self, attention: Any, mask: torch.Tensor | None, form: Form) -> None:
        super().__init__()
        self.heads, self.area = attention.num_heads, attention.window_area
        self.head_dim = attention.qkv.out_features // (3 * self.heads)
        scale = torch.ones(3, self.heads * self.head_dim)
        scale[0] = attention.scale
        weight, bias = attention.qkv.weight.detach(), attention.qkv.bias
        self.register_buffer("weight", weight * scale.reshape(-1, 1))
        self.register_buffer("bias", None if bias is None else bias.detach() * scale.reshape(-1))
        self.projection = attention.proj
        position = attention._get_rel_pos_bias().detach()  # (1, h, N, N)
        self.windows = 1 if mask is None else int(mask.shape[0])
        self.folded = mask is not None and self.windows * position.nbytes <= form.limit
        if mask is not None and self.folded:
            position = (position + mask[:, None]).reshape(1, self.windows * self.heads, self.area, self.area)
        self.keys = self.area + (-self.area % ALIGNMENT if form.aligned else 0)
        missing = self.keys - self.area
        positions = torch.cat([torch.arange(self.area), torch.zeros(missing, dtype=torch.int64)]) if missing else None
        self.register_buffer("positions", positions)
        self.register_buffer("position", functional.pad(position, (0, missing), value=NO_KEY).contiguous())
        apart = None if mask is None or self.folded else functional.pad(mask, (0, missing))
        self.register_buffer("mask", None if apart is None else apart.reshape(self.windows, 1, -1).clone())

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        area, heads, dim = self.area, self.heads, self.head_dim
        length = int(tokens.shape[1])
        qkv = functional.linear(tokens, self.weight, self.bias).reshape(-1, area, 3 * heads, dim)
        q, k, v = self._parts(qkv.transpose(1, 2))
        if self.folded:
            q = q.reshape(-1, self.windows * heads, area, dim)
            k, v = (part.reshape(-1, self.windows * heads, self.keys, dim) for part in (k, v))
        weights = q @ k.transpose(-2, -1) + self.position
        if self.mask is not None:
            weights = weights.reshape(-1, self.windows, heads, area * self.keys) + self.mask
            weights = weights.reshape(-1, heads, area, self.keys)
        mixed = weights.softmax(-1) @ v
        if self.folded:
            mixed = mixed.reshape(-1, heads, area, dim)
        mixed = mixed.transpose(1, 2).reshape(-1, length, heads * dim)
        result: torch.Tensor = self.projection(mixed)
        return result

    def _parts(self, qkv: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """q [B * W, h, N, d], k and v [B * W, h, K, d]."""
        heads = self.heads
        if self.positions is None:
            return torch.split(qkv, heads, dim=1)
        q, kv = torch.split(qkv, (heads, 2 * heads), dim=1)
        return q, *torch.split(kv.index_select(2, self.positions), heads, dim=1)
