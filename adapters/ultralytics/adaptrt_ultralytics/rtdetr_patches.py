"""Patches of RT-DETR."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptrt import Patch, SwitchPatch

if TYPE_CHECKING:
    from torch import nn

    from adaptrt import ModelSpec

REQUIRES = "ultralytics>=8.4,<9"
TESTED = "ultralytics>=8.4,<=8.4.190"


def rtdetr_patches(model: nn.Module, spec: ModelSpec) -> list[Patch]:
    """The decoder's own export switch."""
    return [
        SwitchPatch(
            target="ultralytics.nn.modules.head:RTDETRDecoder",
            values={"export": True, "format": "onnx"},
            reason="the head's own export switch: returns only the decoded tensor",
            requires=REQUIRES,
            tested=TESTED,
        )
    ]
