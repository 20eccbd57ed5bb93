"""Windows of mmdet's Swin Transformer, whose number of images would be a constant of the graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from adaptrt import FunctionPatch, Patch
from adaptrt_mmdet.versions import REQUIRES, TESTED

WINDOWS = "ShiftWindowMSA"


def window_patches(detector: nn.Module) -> list[Patch]:
    """For detectors with this backbone."""
    if not any(type(module).__name__ == WINDOWS for module in detector.modules()):
        return []
    return [
        FunctionPatch(
            target="mmdet.models.backbones.swin:ShiftWindowMSA.window_reverse",
            replacement=joined_windows,
            reason="the batch size is computed with int(), a constant in the graph: other batches would be mixed up, without an error",
            requires=REQUIRES,
            tested=TESTED,
        )
    ]


def joined_windows(_: Callable[..., Any], layer: Any, windows: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """[B, H, W, C] of windows [B * number of windows, size, size, C]."""
    size, channels = int(layer.window_size), int(windows.shape[-1])
    rows, columns = height // size, width // size
    apart = windows.view(-1, rows, columns, size, size, channels)
    return apart.permute(0, 1, 3, 2, 4, 5).reshape(-1, height, width, channels)
