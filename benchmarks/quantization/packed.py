"""Q/DQ files small enough to carry: weights as the int8 numbers that they are rounded to, with their scales."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def pack(source: Path, target: Path) -> None:
    """Write ``source`` with every float32 weight that is only quantized as int8 numbers, and the graph around them."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(source))
    constants = {one.name: one for one in model.graph.initializer}
    readers = [name for node in model.graph.node for name in node.input]
    arrays = {}
    for node in model.graph.node:
        if node.op_type != "QuantizeLinear" or node.input[0] not in constants or readers.count(node.input[0]) != 1:
            continue
        weight, scale = (numpy_helper.to_array(constants[name]) for name in node.input[:2])
        arrays[node.input[0]] = np.clip(np.rint(weight / _along(scale, weight, node)), -128, 127).astype(np.int8)
        constants[node.input[0]].ClearField("raw_data")
    np.savez_compressed(target, graph=np.frombuffer(model.SerializeToString(), np.uint8), **arrays)


def unpack(source: Path, target: Path) -> None:
    """Write the ONNX file: weights are what their int8 numbers stand for, so they are rounded to the same ones again."""
    import onnx
    from onnx import numpy_helper

    with np.load(source) as packed:
        model = onnx.load_model_from_string(packed["graph"].tobytes())
        constants = {one.name: one for one in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "QuantizeLinear" and node.input[0] in packed:
                numbers = packed[node.input[0]]
                scale = numpy_helper.to_array(constants[node.input[1]])
                weight = (numbers * _along(scale, numbers, node)).astype(np.float32)
                constants[node.input[0]].CopyFrom(numpy_helper.from_array(weight, node.input[0]))
    onnx.save(model, str(target))


def _along(scale: np.ndarray, weight: np.ndarray, node: object) -> np.ndarray:
    """The scale as it broadcasts with the weight."""
    if scale.size == 1:
        return scale.reshape(())
    axis = next((one.i for one in node.attribute if one.name == "axis"), 1)  # type: ignore[attr-defined]
    return scale.reshape([-1 if index == axis % weight.ndim else 1 for index in range(weight.ndim)])
