"""mmcv's ``MultiheadAttention`` as plain batch-first products, without the surrounding transposes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class PlainAttention(nn.Module):
    """The same weights as separate projections; the scale is part of the query's.

    mmcv transposes to sequence-first for ``nn.MultiheadAttention``, which packs the projections and transposes again.
    ``static``: lengths are numbers in the graph, and the batch is the -1 of each reshape.
    """

    def __init__(self, wrapped: Any, *, static: bool = True) -> None:
        super().__init__()
        self.static = static
        attention: nn.MultiheadAttention = wrapped.attn
        if not wrapped.batch_first or attention.in_proj_weight is None or attention.bias_k is not None:
            raise ValueError("only batch-first attention with equal widths is supported")
        self.heads = attention.num_heads
        self.width = attention.embed_dim // attention.num_heads
        weights = attention.in_proj_weight.detach().chunk(3)
        zeros = torch.zeros(3 * attention.embed_dim)
        biases = (zeros if attention.in_proj_bias is None else attention.in_proj_bias.detach()).chunk(3)
        scale = self.width**-0.5
        self.query, self.key, self.value = (
            _linear(weight * factor, bias * factor)
            for weight, bias, factor in zip(weights, biases, (scale, 1.0, 1.0), strict=True)
        )
        self.out = attention.out_proj

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor | None = None,
        value: torch.Tensor | None = None,
        identity: torch.Tensor | None = None,
        query_pos: torch.Tensor | None = None,
        key_pos: torch.Tensor | None = None,
        attn_mask: torch.Tensor | None = None,
        key_padding_mask: torch.Tensor | None = None,
        **_: Any,
    ) -> torch.Tensor:
        """Like mmcv's: positions are added to query and key, the identity to the result. All [B, L, E]."""
        key = query if key is None else key
        value = key if value is None else value
        identity = query if identity is None else identity
        if key_pos is None and query_pos is not None and query_pos.shape == key.shape:
            key_pos = query_pos
        same = key is query and key_pos is query_pos
        query = query if query_pos is None else query + query_pos
        key = query if same else key if key_pos is None else key + key_pos
        q = self._heads(self.query(query)).transpose(1, 2)  # (B, heads, L, width)
        k = self._heads(self.key(key)).permute(0, 2, 3, 1)  # (B, heads, width, S)
        v = self._heads(self.value(value)).transpose(1, 2)  # (B, heads, S, width)
        weights = q @ k  # (B, heads, L, S)
        if attn_mask is not None:
            weights = _masked(weights, attn_mask)
        if key_padding_mask is not None:
            weights = _masked(weights, key_padding_mask[:, None, None])
        mixed = (weights.softmax(-1) @ v).transpose(1, 2)  # (B, L, heads, width)
        joined = mixed.reshape(-1, int(mixed.shape[1]), self.heads * self.width) if self.static else mixed.flatten(2)
        result: torch.Tensor = identity + self.out(joined)
        return result

    def _heads(self, tokens: torch.Tensor) -> torch.Tensor:
        """[B, L, E] to [B, L, heads, width]."""
        if self.static:
            return tokens.reshape(-1, int(tokens.shape[1]), self.heads, self.width)
        split: torch.Tensor = tokens.unflatten(-1, (self.heads, self.width))  # type: ignore[no-untyped-call]
        return split


def _masked(weights: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Apply a mask: True excludes a key; a float mask is added."""
    return weights.masked_fill(mask, float("-inf")) if mask.dtype is torch.bool else weights + mask


def _linear(weight: torch.Tensor, bias: torch.Tensor) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    linear.weight, linear.bias = nn.Parameter(weight, requires_grad=False), nn.Parameter(bias, requires_grad=False)
    return linear
