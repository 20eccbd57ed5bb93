"""The patch of mmcv's deformable attention, which Deformable-DETR and DINO use."""

from __future__ import annotations

from typing import Any

import torch

from adaptrt import FunctionPatch, Patch
from adaptrt.patching.deformable import deformable_attention
from adaptrt_mmdet.versions import REQUIRES, TESTED


def deformable_patches() -> list[Patch]:
    """Bilinear sampling without ``grid_sample``."""
    return [
        FunctionPatch(
            target="mmcv.ops.multi_scale_deform_attn:multi_scale_deformable_attn_pytorch",
            replacement=_attention,
            reason="bilinear sampling as gathers in float32: TensorRT's GridSample loses accuracy in half precision",
            requires=REQUIRES,
            tested=TESTED,
        )
    ]


def _attention(
    original: Any, value: torch.Tensor, value_spatial_shapes: Any, sampling_locations: Any, attention_weights: Any
) -> torch.Tensor:
    """mmcv keeps levels and points on separate axes: [B, Q, heads, L, P, 2] and [B, Q, heads, L, P]."""
    sizes = [(int(rows), int(columns)) for rows, columns in value_spatial_shapes]
    return deformable_attention(value, sizes, sampling_locations.flatten(3, 4), attention_weights.flatten(3, 4))
