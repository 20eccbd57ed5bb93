"""Deformable convolutions of mmcv through torchvision, exported as ONNX's ``DeformConv``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from adaptrt import FunctionPatch, Patch
from adaptrt_mmdet.versions import REQUIRES, TESTED

MODULES = {
    "DeformConv2d": "mmcv.ops.deform_conv:deform_conv2d",
    "ModulatedDeformConv2d": "mmcv.ops.modulated_deform_conv:modulated_deform_conv2d",
}
"""The layers, and the function that each calls."""


def convolution_patches(detector: nn.Module) -> list[Patch]:
    """One for each kind of deformable layer that the detector has."""
    kinds = {base.__name__ for module in detector.modules() for base in type(module).__mro__}
    replacements: dict[str, Callable[..., torch.Tensor]] = {
        "DeformConv2d": _plain,
        "ModulatedDeformConv2d": _modulated,
    }
    return [
        FunctionPatch(
            target=MODULES[kind],
            replacement=replacement,
            reason="mmcv exports a custom operator; ONNX's DeformConv computes the same",
            requires=REQUIRES,
            tested=TESTED,
        )
        for kind, replacement in replacements.items()
        if kind in kinds
    ]


class DeformConv(torch.autograd.Function):
    """torchvision's ``deform_conv2d``; in a traced graph ``DeformConv``, which is of opset 19."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ARG004
        images: torch.Tensor,
        offset: torch.Tensor,
        mask: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        numbers: tuple[int, ...],
    ) -> torch.Tensor:
        from torchvision.ops import deform_conv2d  # type: ignore[import-untyped]

        stride, padding, dilation = numbers[:2], numbers[2:4], numbers[4:6]
        found: torch.Tensor = deform_conv2d(images, offset, weight, bias, stride, padding, dilation, mask)
        return found

    @staticmethod
    def symbolic(g: Any, images: Any, offset: Any, mask: Any, weight: Any, bias: Any, numbers: tuple[int, ...]) -> Any:
        stride, padding, dilation, groups = numbers[:2], numbers[2:4], numbers[4:6], numbers[6:]
        return g.op(
            "DeformConv",
            images,
            weight,
            offset,
            bias,
            mask,
            strides_i=stride,
            pads_i=(*padding, *padding),
            dilations_i=dilation,
            group_i=groups[0],
            offset_group_i=groups[1],
        )


def _plain(
    original: Any,
    images: torch.Tensor,
    offset: torch.Tensor,
    weight: torch.Tensor,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    deform_groups: int = 1,
    *_: Any,
) -> torch.Tensor:
    """Without a mask: one of ones."""
    ones = torch.ones_like(offset[:, : int(offset.shape[1]) // 2])
    return _modulated(None, images, offset, ones, weight, None, stride, padding, dilation, groups, deform_groups)


def _modulated(
    original: Any,
    images: torch.Tensor,
    offset: torch.Tensor,
    mask: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    deform_groups: int = 1,
) -> torch.Tensor:
    numbers = (*_pair(stride), *_pair(padding), *_pair(dilation), groups, deform_groups)
    bias = torch.zeros(int(weight.shape[0])) if bias is None else bias
    found: torch.Tensor = DeformConv.apply(images, offset, mask, weight, bias, numbers)
    return found


def _pair(value: Any) -> tuple[int, int]:
    first, second = value if isinstance(value, (tuple, list)) else (value, value)
    return int(first), int(second)
