"""int8 graphs: where Q/DQ nodes go, and the ranges that their scales come from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from adaptrt.quantization.placement import LayerPatterns
from adaptrt.quantization.quantize import Calibrated, Quantized, calibrate, placed, write_quantized

if TYPE_CHECKING:
    from adaptrt.request import Request
    from adaptrt.specs import ModelSpec

__all__ = ["Calibrated", "LayerPatterns", "Quantized", "calibrate", "int8_layers", "write_quantized"]


def int8_layers(path: Path, spec: ModelSpec | None, request: Request) -> tuple[list[str], str]:
    """Names of the nodes of a float32 file whose inputs are quantized, and what stays float, in words.

    For extensions that implement ``quantize``. Raises a ``GraphError`` if there is none.
    """
    patterns = LayerPatterns(keep_fp32=request.keep_fp32, keep_fp16=request.keep_fp16, also=request.quantize_also)
    _, _, placement = placed(path, spec, patterns)
    return [str(layer.node.name) for layer in placement.layers], placement.note
