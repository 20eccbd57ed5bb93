"""A Swin block for one picture size: windows by constant permutation, attention with folded constants.

``B`` batch, ``L`` tokens of the picture, ``W`` windows, ``N`` tokens of a window, ``h`` heads, ``d`` channels of a head.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from adaptrt_timm.swin_order import Order, inverse, is_identity, window_order

Windows = Literal["gather", "slices"]

# bias plus mask of all windows as one constant up to this size; beyond, two constants that broadcast
FOLDED_BYTES = 4 << 20


class FoldedAttention(nn.Module):
    """timm's ``WindowAttention`` with its mask: [B, W * N, h * d] in window order, to the same.

    The scale is in the query's weights; relative position bias and the mask of shifted windows are constants. No axis
    but the batch depends on the input, and none is beyond the fourth.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None
    position: torch.Tensor
    mask: torch.Tensor | None

    def __init__(self, attention: Any, mask: torch.Tensor | None, limit: int = FOLDED_BYTES) -> None:
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
        self.folded = mask is not None and self.windows * position.nbytes <= limit
        if mask is not None and self.folded:
            position = (position + mask[:, None]).reshape(1, self.windows * self.heads, self.area, self.area)
        self.register_buffer("position", position.contiguous())
        apart = mask.reshape(self.windows, 1, self.area**2).clone() if mask is not None and not self.folded else None
        self.register_buffer("mask", apart)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        area, heads, dim = self.area, self.heads, self.head_dim
        length = int(tokens.shape[1])
        qkv = functional.linear(tokens, self.weight, self.bias).reshape(-1, area, 3 * heads, dim)
        q, k, v = torch.split(qkv.transpose(1, 2), heads, dim=1)  # (B * W, h, N, d)
        if self.folded:
            q, k, v = (part.reshape(-1, self.windows * heads, area, dim) for part in (q, k, v))
        weights = q @ k.transpose(-2, -1) + self.position
        if self.mask is not None:
            weights = weights.reshape(-1, self.windows, heads, area * area) + self.mask
            weights = weights.reshape(-1, heads, area, area)
        mixed = weights.softmax(-1) @ v
        if self.folded:
            mixed = mixed.reshape(-1, heads, area, dim)
        mixed = mixed.transpose(1, 2).reshape(-1, length, heads * dim)
        result: torch.Tensor = self.projection(mixed)
        return result


class WindowBlock(nn.Module):
    """``SwinTransformerBlock`` at its ``input_resolution``: [B, H, W, C] to the same.

    Tokens [B, L, C] are taken as standing in the order of its windows already, which needs windows without padding.
    """

    to_windows: torch.Tensor
    to_picture: torch.Tensor

    def __init__(self, block: Any, *, windows: Windows = "gather", limit: int = FOLDED_BYTES) -> None:
        super().__init__()
        self.size = _pair(block.input_resolution)
        self.window = _pair(block.window_size)
        self.shift = _pair(block.shift_size)
        self.form = windows
        self.length = self.size[0] * self.size[1]
        self.norm1, self.norm2, self.mlp = block.norm1, block.norm2, block.mlp
        mask = block.attn_mask if block.attn_mask is not None else block.get_attn_mask()
        self.attention = FoldedAttention(block.attn, mask, limit)
        self.order: Order = window_order(self.size, self.window, self.shift)
        self.padded = len(self.order) > self.length
        self.register_buffer("to_windows", torch.from_numpy(self.order))
        self.register_buffer("to_picture", torch.from_numpy(inverse(self.order, self.length)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.ndim == 3:
            return self._mixed(x + self.attention(self.norm1(x)))
        height, width = self.size
        channels = int(x.shape[3])
        tokens = x.reshape(-1, self.length, channels)
        tokens = tokens + self._windowed(self.norm1(tokens))
        return self._mixed(tokens).reshape(-1, height, width, channels)

    def _mixed(self, tokens: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = tokens + self.mlp(self.norm2(tokens))
        return result

    def _windowed(self, tokens: torch.Tensor) -> torch.Tensor:
        if not self.padded and is_identity(self.order):
            mixed: torch.Tensor = self.attention(tokens)
        elif self.form == "slices":
            mixed = self._from_slices(self.attention(self._to_slices(tokens)))
        else:
            if self.padded:
                tokens = functional.pad(tokens, (0, 0, 0, 1))  # the token that stands for padding
            mixed = self.attention(tokens.index_select(1, self.to_windows)).index_select(1, self.to_picture)
        return mixed

    def _to_slices(self, tokens: torch.Tensor) -> torch.Tensor:
        """The same order by slices and transposes: [B, L, C] to [B, W * N, C]."""
        (height, width), (rows, columns) = self.size, self.window
        channels = int(tokens.shape[2])
        tokens = _rolled(tokens, self.shift[0] * width)
        x = _rolled(tokens.reshape(-1, height, width, channels), self.shift[1], axis=2)
        bottom, right = -height % rows, -width % columns
        if bottom or right:
            x = functional.pad(x, (0, 0, 0, right, 0, bottom))
        x = x.reshape(-1, rows, (width + right) // columns, columns * channels).transpose(1, 2)
        return x.reshape(-1, len(self.order), channels)

    def _from_slices(self, tokens: torch.Tensor) -> torch.Tensor:
        (height, width), (rows, columns) = self.size, self.window
        channels = int(tokens.shape[2])
        bottom, right = -height % rows, -width % columns
        x = tokens.reshape(-1, (width + right) // columns, rows, columns * channels).transpose(1, 2)
        x = x.reshape(-1, height + bottom, width + right, channels)
        if bottom or right:
            x = x[:, :height, :width]
        x = _rolled(x, width - self.shift[1] if self.shift[1] else 0, axis=2)
        return _rolled(
            x.reshape(-1, self.length, channels), self.length - self.shift[0] * width if self.shift[0] else 0
        )


def _pair(sizes: Any) -> tuple[int, int]:
    height, width = sizes
    return int(height), int(width)


def _rolled(x: torch.Tensor, places: int, axis: int = 1) -> torch.Tensor:
    """``x`` rolled towards its start."""
    if not places:
        return x
    size = int(x.shape[axis])
    return torch.cat([x.narrow(axis, places, size - places), x.narrow(axis, 0, places)], axis)


class OrderedStage(nn.Module):
    """``SwinTransformerStage`` of blocks without padding: [B, H, W, C], down-sampled, through the blocks.

    Tokens go from one block's window order straight to the next one's, so that each block costs one permutation.
    """

    def __init__(self, downsample: nn.Module, blocks: list[WindowBlock]) -> None:
        super().__init__()
        self.downsample = downsample
        self.blocks = nn.ModuleList(blocks)
        self.size = blocks[0].size
        row_by_row = np.arange(blocks[0].length, dtype=np.int64)
        current = row_by_row
        for index, order in enumerate([*(block.order for block in blocks), row_by_row]):
            step = inverse(current, len(current))[order]
            self.register_buffer(f"step{index}", None if is_identity(step) else torch.from_numpy(step))
            current = order

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = self.size
        x = self.downsample(x)
        channels = int(x.shape[3])
        tokens = x.reshape(-1, height * width, channels)
        for index, block in enumerate(self.blocks):
            tokens = block(self._permuted(tokens, index))
        return self._permuted(tokens, len(self.blocks)).reshape(-1, height, width, channels)

    def _permuted(self, tokens: torch.Tensor, index: int) -> torch.Tensor:
        step: torch.Tensor | None = getattr(self, f"step{index}")
        return tokens if step is None else tokens.index_select(1, step)
