"""Patches of RT-DETR."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from adaptrt import FunctionPatch, Patch, SwitchPatch
from adaptrt.patching.deformable import deformable_attention

if TYPE_CHECKING:
    from torch import nn

    from adaptrt import ModelSpec

REQUIRES = "ultralytics>=8.4.9,<9"
TESTED = "ultralytics>=8.4.9,<=8.4.190"


def rtdetr_patches(model: nn.Module, spec: ModelSpec) -> list[Patch]:
    """The decoder's own export switch, and at a fixed size its attention without ``grid_sample``."""
    found: list[Patch] = [
        SwitchPatch(
            target="ultralytics.nn.modules.head:RTDETRDecoder",
            values={"export": True, "format": "onnx"},
            reason="the head's own export switch: returns only the decoded tensor",
            requires=REQUIRES,
            tested=TESTED,
        )
    ]
    if not spec.dynamic_size:
        found.append(
            FunctionPatch(
                target="ultralytics.nn.modules.transformer:multi_scale_deformable_attn_pytorch",
                replacement=_attention,
                reason="bilinear sampling as gathers in float32: TensorRT's GridSample loses accuracy in half precision",
                requires=REQUIRES,
                tested=TESTED,
            )
        )
    return found


def _attention(
    original: Any, value: torch.Tensor, value_spatial_shapes: Any, sampling_locations: Any, attention_weights: Any
) -> torch.Tensor:
    sizes = [(int(rows), int(columns)) for rows, columns in value_spatial_shapes]
    return deformable_attention(value, sizes, sampling_locations, attention_weights)
