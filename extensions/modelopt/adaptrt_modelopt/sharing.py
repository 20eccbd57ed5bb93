"""Q/DQ pairs belong to the layers that are quantized, not to every node that reads the same value."""

from __future__ import annotations

from collections.abc import Collection

import onnx


def restrict_pairs(model: onnx.ModelProto, layers: Collection[str]) -> int:
    """Let nodes other than ``layers`` read the float value before a pair; returns how many inputs that changed.

    ONNX Runtime, which ModelOpt calls, gives the pair of an activation to all its readers. An addition keeps it only beside
    a quantized convolution, as in adaptrt's own quantizer, where TensorRT computes a residual in int8. Beside a product, it
    would round what a transformer adds up from layer to layer.
    """
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    changed = 0
    for pair in [node for node in graph.node if node.op_type == "DequantizeLinear"]:
        quantize = makers.get(pair.input[0])
        if quantize is None or quantize.op_type != "QuantizeLinear":
            continue
        value, reading = pair.output[0], readers.get(pair.output[0], [])
        convolved = any(node.op_type == "Conv" and node.name in layers for node in reading)
        for node in reading:
            if node.name in layers or (convolved and node.op_type == "Add"):
                continue
            for position, name in enumerate(node.input):
                if name == value:
                    node.input[position] = quantize.input[0]
                    changed += 1
    return changed
