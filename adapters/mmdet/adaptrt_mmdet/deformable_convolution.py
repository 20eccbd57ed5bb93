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
    rows, columns = output_size(images, weight, numbers[:2], numbers[2:4], numbers[4:6])
    offset, mask = (as_read_by_mmcv(values, rows, columns) for values in (offset, mask))
    bias = torch.zeros(int(weight.shape[0])) if bias is None else bias
    found: torch.Tensor = DeformConv.apply(images, offset, mask, weight, bias, numbers)
    return found


def output_size(
    images: torch.Tensor,
    weight: torch.Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> tuple[int, int]:
    """Height and width of the result of a convolution; while tracing, they are traced as well."""
    rows, columns = (
        (images.shape[axis + 2] + 2 * padding[axis] - dilation[axis] * (int(weight.shape[axis + 2]) - 1) - 1)
        // stride[axis]
        + 1
        for axis in range(2)
    )
    return rows, columns


def as_read_by_mmcv(values: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Offsets or masks [B, C, h, w] as mmcv's modulated kernels read them, [B, C, rows, columns].

    They take the memory of each sample as if it had the size of the result, without a check, and leave the rest unread. DyHead relies on
    it: its offsets belong to a level that is twice as large. torchvision rejects another size.
    """
    if int(values.shape[2]) * int(values.shape[3]) <= int(rows) * int(columns):  # if too small, torchvision says so
        return values
    channels = int(values.shape[1])
    return values.flatten(1)[:, : channels * rows * columns].reshape(-1, channels, rows, columns)


def _pair(value: Any) -> tuple[int, int]:
    first, second = value if isinstance(value, (tuple, list)) else (value, value)
    return int(first), int(second)
