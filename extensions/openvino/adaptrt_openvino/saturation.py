"""Tests whether int8 convolutions saturate on this CPU: without VNNI, sums of two products saturate at 16 bits."""

from __future__ import annotations

from typing import Any

import numpy as np

from adaptrt_openvino.runtime import compile_model, import_openvino

WARNING = (
    "int8 convolutions saturate on this CPU, which does not support VNNI: large values are clipped, and results differ from "
    "those on CPUs with VNNI"
)
_CHANNELS = 16


def int8_saturates(core: Any) -> bool:
    """Computes a convolution of the largest 8-bit values, and compares it with the exact result."""
    openvino = import_openvino()
    ops = openvino.opset13
    image = ops.parameter([1, _CHANNELS, 8, 8], np.float32)
    data = ops.fake_quantize(image, *map(np.float32, (0, 255, 0, 255)), 256)
    kernel = np.full((_CHANNELS, _CHANNELS, 1, 1), 127, np.float32)
    kernel[0] = -127  # else the range of the weights is a single number
    weights = ops.fake_quantize(kernel, *map(np.float32, (-127, 127, -127, 127)), 255)
    convolved = ops.convolution(data, weights, [1, 1], [0, 0], [0, 0], [1, 1])
    compiled = compile_model(core, openvino.Model([convolved], [image], "largest"), "int8")
    found = compiled.create_infer_request().infer([np.full((1, _CHANNELS, 8, 8), 255, np.float32)])[0]
    return not np.allclose(np.abs(found), 127 * 255 * _CHANNELS, rtol=1e-3)
