"""Patches of ``timm.models.swin_transformer``: at a fixed image size only the batch is dynamic.

timm rolls, pads, partitions and reverses windows with sizes that it reads from tensors, which end up in the graph as
shape arithmetic. Here the sizes are Python integers, and everything that depends only on them is a constant.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.models.swin_transformer import PatchMerging
from torch import nn
from torch.nn import functional

from adaptrt import FunctionPatch, ModulePatch, Patch
from adaptrt_timm.swin_block import OrderedStage, WindowBlock
from adaptrt_timm.swin_form import DEFAULT, Form

REQUIRES = "timm>=1.0.20,<2"
TESTED = "timm>=1.0.20,<=1.0.31"
_MODULE = "timm.models.swin_transformer"


def swin_patches(model: nn.Module, form: Form = DEFAULT) -> list[Patch]:
    """The patches that this network needs."""

    def build(block: nn.Module) -> nn.Module:
        return WindowBlock(block, form).eval()

    found: list[Patch] = [
        ModulePatch(
            target=f"{_MODULE}:SwinTransformerBlock",
            build=build,
            reason="roll, pad, window partition, mask and bias are computed from shapes; at a fixed size they are constants",
            requires=REQUIRES,
            tested=TESTED,
            link="https://github.com/microsoft/Swin-Transformer/issues/257",
        )
    ]
    if any(isinstance(module, PatchMerging) for module in model.modules()):
        found.append(
            FunctionPatch(
                target=f"{_MODULE}:PatchMerging.forward",
                replacement=_merge,
                reason="pads and reshapes in six dimensions by sizes read from the tensor",
                requires=REQUIRES,
                tested=TESTED,
            )
        )
    if form.windows == "gather":
        found.append(
            ModulePatch(
                target=f"{_MODULE}:SwinTransformerStage",
                build=_ordered,
                reason="going from one block's windows to the next block's takes one permutation instead of two",
                requires=REQUIRES,
                tested=TESTED,
            )
        )
    return found


def _merge(original: Any, self: Any, x: torch.Tensor) -> torch.Tensor:
    height, width, channels = (int(size) for size in x.shape[1:])
    if height % 2 or width % 2:
        x = functional.pad(x, (0, 0, 0, width % 2, 0, height % 2))
        height, width = height + height % 2, width + width % 2
    # (B * H/2, 2, W, C): columns stay together, so that four axes are enough
    x = x.reshape(-1, 2, width, channels).transpose(1, 2).reshape(-1, height // 2, width // 2, 4 * channels)
    result: torch.Tensor = self.reduction(self.norm(x))
    return result


def _ordered(stage: Any) -> nn.Module:
    blocks = list(stage.blocks)
    if not blocks or not all(isinstance(block, WindowBlock) and not block.padded for block in blocks):
        unchanged: nn.Module = stage
        return unchanged
    return OrderedStage(stage.downsample, blocks).eval()
