"""Layers of the classic repository that the package ``ultralytics`` does not have, from their published descriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence


class Contract(nn.Module):
    """Width and height into channels: [B, C, H, W] to [B, C * gain^2, H / gain, W / gain], the corner first."""

    gain: int

    def forward(self, x: Tensor) -> Tensor:
        _, channels, height, width = (int(size) for size in x.shape)
        gain = self.gain
        x = x.view(-1, channels, height // gain, gain, width // gain, gain)
        return x.permute(0, 3, 5, 1, 2, 4).reshape(-1, channels * gain * gain, height // gain, width // gain)


class Expand(nn.Module):
    """Channels into width and height, the reverse of ``Contract``."""

    gain: int

    def forward(self, x: Tensor) -> Tensor:
        _, channels, height, width = (int(size) for size in x.shape)
        gain = self.gain
        x = x.view(-1, gain, gain, channels // gain**2, height, width)
        return x.permute(0, 3, 4, 1, 5, 2).reshape(-1, channels // gain**2, height * gain, width * gain)


class MixConv2d(nn.Module):
    """Parallel convolutions of several sizes, then BatchNorm and activation."""

    m: nn.ModuleList
    bn: nn.Module
    act: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.act(self.bn(torch.cat([conv(x) for conv in self.m], 1)))
        return mixed


class Sum(nn.Module):
    """Sum of feature maps; with ``weight`` the second and later ones times twice the sigmoid of a learned number."""

    weight: bool
    iter: Sequence[int]
    w: Tensor

    def forward(self, x: Sequence[Tensor]) -> Tensor:
        total = x[0]
        if self.weight:
            factors = torch.sigmoid(self.w) * 2
            for index in self.iter:
                total = total + x[index + 1] * factors[index]
            return total
        for index in self.iter:
            total = total + x[index + 1]
        return total
