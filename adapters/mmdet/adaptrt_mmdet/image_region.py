"""The part of the input tensor that is image, not padding: mmdet clips boxes to it before NMS."""

from __future__ import annotations

import torch

from adaptrt_mmdet.images import TestImages


def recognizable_padding(images: TestImages) -> bool:
    """Whether zeros can only be padding: added after normalization, with a mean that no pixel has."""
    return images.keep_ratio and images.pad is None and any(value != round(value) for value in images.mean)


def image_limits(images: torch.Tensor, *, padded: bool, static: bool) -> torch.Tensor:
    """Width, height, width, height of the images, float32 [B, 1, 4], or [1, 1, 4].

    ``padded``: up to the last row and column that are not zero in every channel. ``static``: sizes are numbers in the graph.
    """
    if padded:
        seen = images.abs().amax(1)  # [B, H, W]
        sides = [_last(seen.amax(axis), static=static) for axis in (1, 2)]
        return torch.stack([*sides, *sides], -1)
    if static:
        height, width = (int(side) for side in images.shape[2:])
        return torch.tensor([[[width, height, width, height]]], dtype=images.dtype)
    one = torch.ones(())
    height, width = (one * side for side in images.shape[2:])  # traced: sizes stay symbolic
    return torch.stack([width, height, width, height]).view(1, 1, 4)


def _last(seen: torch.Tensor, *, static: bool) -> torch.Tensor:
    """float32 [B, 1]: the number of the last element above 0, from 1; 0 if there is none. ``seen``: float32 [B, N]."""
    count = torch.arange(1.0, int(seen.shape[1]) + 1) if static else torch.ones_like(seen[0]).cumsum(0)
    return ((seen > 0).to(seen.dtype) * count).amax(1, keepdim=True)


def within(boxes: torch.Tensor, limits: torch.Tensor) -> torch.Tensor:
    return torch.minimum(boxes.clamp(min=0), limits)
