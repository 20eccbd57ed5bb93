"""Adaptive max pooling of Libra R-CNN's balanced feature pyramid, which the exporters cannot express for sizes read from shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from adaptrt import FunctionPatch, ModelSpec, Patch
from adaptrt_mmdet.versions import REQUIRES, TESTED

PYRAMID = "BFP"


def pooling_patches(detector: nn.Module, spec: ModelSpec) -> list[Patch]:
    """For detectors with this pyramid at a fixed size."""
    if spec.dynamic_size or not any(type(module).__name__ == PYRAMID for module in detector.modules()):
        return []
    return [
        FunctionPatch(
            target="torch.nn.functional:adaptive_max_pool2d",
            replacement=_fixed,
            reason="the size is read from the shape of another level, and need not divide that of this one",
            requires=REQUIRES,
            tested=TESTED,
        )
    ]


def _fixed(
    original: Callable[..., Any], values: torch.Tensor, output_size: Sequence[int], return_indices: bool = False
) -> Any:
    sizes = [int(size) for size in output_size]
    return original(values, sizes, True) if return_indices else adaptive_max(values, sizes)


def adaptive_max(values: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """[..., rows, columns] of [..., H, W], as torch's ``adaptive_max_pool2d``: bins may overlap by one cell."""
    for axis, count in zip((-2, -1), sizes, strict=True):
        cells = int(values.shape[axis])
        starts = [number * cells // count for number in range(count)]
        ends = [-(-(number + 1) * cells // count) for number in range(count)]
        widest = max(end - start for start, end in zip(starts, ends, strict=True))
        if widest == 1:
            continue
        # the last cell of a shorter bin is taken again: the maximum is the same
        index = [min(start + k, end - 1) for start, end in zip(starts, ends, strict=True) for k in range(widest)]
        values = values.index_select(axis, torch.tensor(index)).unflatten(axis, (count, widest)).amax(axis)
    return values
