"""A Swin block for one image size, and a stage of them: windows by constant permutation.

``B`` batch, ``L`` tokens of the image, ``W`` windows, ``N`` tokens of a window, ``C`` channels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from adaptrt_timm.swin_attention import FoldedAttention
from adaptrt_timm.swin_form import DEFAULT, Form
from adaptrt_timm.swin_mlp import folded_mlp
from adaptrt_timm.swin_order import Order, inverse, is_identity, window_order


class WindowBlock(nn.Module):
    """``SwinTransformerBlock`` at its ``input_resolution``: [B, H, W, C] to the same shape.

    Tokens [B, L, C] are expected in the order of its windows, which requires windows without padding.
    """

    to_windows: torch.Tensor
    to_image: torch.Tensor

    def __init__(self, block: Any, form: Form = DEFAULT) -> None:
        super().__init__()
        self.size = _pair(block.input_resolution)
        self.window = _pair(block.window_size)
        self.shift = _pair(block.shift_size)
        self.form = form
        self.length = self.size[0] * self.size[1]
        self.norm1, self.norm2 = block.norm1, block.norm2
        self.mlp = folded_mlp(block.mlp) if form.gelu else block.mlp
        mask = block.attn_mask if block.attn_mask is not None else block.get_attn_mask()
        self.attention = FoldedAttention(block.attn, mask, form)
        self.order: Order = window_order(self.size, self.window, self.shift)
        self.padded = len(self.order) > self.length
        self.register_buffer("to_windows", torch.from_numpy(self.order))
        self.register_buffer("to_image", torch.from_numpy(inverse(self.order, self.length)))

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
        elif self.form.windows == "slices":
            mixed = self._from_slices(self.attention(self._to_slices(tokens)))
        else:
            if self.padded:
                tokens = functional.pad(tokens, (0, 0, 0, 1))  # the token that stands for padding
            mixed = self.attention(tokens.index_select(1, self.to_windows)).index_select(1, self.to_image)
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
        return _cut(x, width + right, self.window).reshape(-1, len(self.order), channels)

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


def _cut(x: torch.Tensor, width: int, window: tuple[int, int]) -> torch.Tensor:
    """[B, H, width, C] cut into windows, in memory window after window: [B * H / rows, width / columns, rows, columns * C]."""
    rows, columns = window
    return x.reshape(-1, rows, width // columns, columns * int(x.shape[3])).transpose(1, 2)


def _rolled(x: torch.Tensor, positions: int, axis: int = 1) -> torch.Tensor:
    """``x`` rolled toward its start."""
    if not positions:
        return x
    size = int(x.shape[axis])
    return torch.cat([x.narrow(axis, positions, size - positions), x.narrow(axis, 0, positions)], axis)


class OrderedStage(nn.Module):
    """``SwinTransformerStage`` of blocks without padding: [B, H, W, C], downsampled, through the blocks.

    Tokens are permuted directly from the window order of one block to that of the next, so each block needs one permutation.
    """

    def __init__(self, downsample: nn.Module, blocks: list[WindowBlock]) -> None:
        super().__init__()
        self.downsample = downsample
        self.blocks = nn.ModuleList(blocks)
        self.size = blocks[0].size
        row_by_row = np.arange(blocks[0].length, dtype=np.int64)
        current = row_by_row
        # rows cut into windows that are not shifted: a transpose
        first = blocks[0]
        self.window = first.window
        self.cut = first.form.transposed and not any(first.shift) and not is_identity(first.order)
        for index, order in enumerate([*(block.order for block in blocks), row_by_row]):
            step = inverse(current, len(current))[order]
            gathers = not (is_identity(step) or (index == 0 and self.cut))
            self.register_buffer(f"step{index}", torch.from_numpy(step) if gathers else None)
            current = order

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = self.size
        x = self.downsample(x)
        channels = int(x.shape[3])
        if self.cut:
            x = _cut(x, width, self.window)
        tokens = x.reshape(-1, height * width, channels)
        for index, block in enumerate(self.blocks):
            tokens = block(self._permuted(tokens, index))
        return self._permuted(tokens, len(self.blocks)).reshape(-1, height, width, channels)

    def _permuted(self, tokens: torch.Tensor, index: int) -> torch.Tensor:
        step: torch.Tensor | None = getattr(self, f"step{index}")
        return tokens if step is None else tokens.index_select(1, step)
