"""Maps the layer names of the classic ``models/common.py`` to equivalent classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn
from ultralytics.nn.modules import block, conv, transformer

from adaptrt_ultralytics.classic import experimental, head

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adaptrt.checkpoint import InertObject

HOMES = ("models.common", "models.experimental", "yolov5.models.common", "yolov5.models.experimental")
ACTIVATIONS = ("utils.activations", "yolov5.utils.activations")

# The package's layers have the same children under the same names and combine them in the same way.
LAYERS: Mapping[str, type[nn.Module]] = {
    "Bottleneck": block.Bottleneck,
    "BottleneckCSP": block.BottleneckCSP,
    "C3": block.C3,
    "C3Ghost": block.C3Ghost,
    "C3SPP": block.C3,
    "C3TR": block.C3TR,
    "C3x": block.C3,
    "Classify": head.Classify,
    "Concat": conv.Concat,
    "Contract": experimental.Contract,
    "Conv": conv.Conv,
    "CrossConv": block.Bottleneck,
    "DWConv": conv.DWConv,
    "DWConvTranspose2d": conv.DWConvTranspose2d,
    "Expand": experimental.Expand,
    "Focus": conv.Focus,
    "GhostBottleneck": block.GhostBottleneck,
    "GhostConv": conv.GhostConv,
    "MixConv2d": experimental.MixConv2d,
    "Proto": head.Proto,
    "SPP": block.SPP,
    "SPPF": block.SPPF,
    "Sum": experimental.Sum,
    "TransformerBlock": transformer.TransformerBlock,
    "TransformerLayer": transformer.TransformerLayer,
}
HAND_WRITTEN: Mapping[str, type[nn.Module]] = {  # predate torch's own
    "Hardswish": nn.Hardswish,
    "MemoryEfficientMish": nn.Mish,
    "MemoryEfficientSwish": nn.SiLU,
    "Mish": nn.Mish,
    "SiLU": nn.SiLU,
    "Swish": nn.SiLU,
}


def layer_class(recorded: InertObject) -> type[nn.Module] | None:
    """The class for a layer of the checkpoint; None if no class computes the same."""
    module, _, name = recorded.path.rpartition(".")
    if module in HOMES:
        return LAYERS.get(name)
    if module in ACTIVATIONS:
        return HAND_WRITTEN.get(name)
    return None
