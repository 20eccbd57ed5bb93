"""A reduced-precision graph as float32 that rounds where the reduced one would: for types that ONNX Runtime cannot compute in."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

_LOW = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


def emulate_low_precision(model: ir.Model) -> None:
    """In place: every value in half becomes float32, rounded to half by two casts where it is made.

    Sums inside an operator are float32, as they are on a GPU.
    """
    for name, value in list(model.graph.initializers.items()):
        if value.dtype in _LOW and value.const_value is not None:
            array = np.asarray(value.const_value.numpy()).astype(np.float32)
            value.const_value = ir.tensor(array, name=name)
            value.type = ir.TensorType(ir.DataType.FLOAT)
    for node in list(model.graph):
        for value in list(node.outputs):
            if value.dtype not in _LOW:
                continue
            half = value.dtype
            last = node
            if node.op_type == "Cast":
                rounded = value
            else:
                value.type = ir.TensorType(ir.DataType.FLOAT)
                down = _cast(value, half)
                model.graph.insert_after(node, down)
                rounded, last = down.outputs[0], down
            up = _cast(rounded, ir.DataType.FLOAT)
            model.graph.insert_after(last, up)
            for user, position in list(value.uses()):
                if user not in (last, up):
                    user.replace_input_with(position, up.outputs[0])


def _cast(value: ir.Value, dtype: ir.DataType) -> ir.Node:
    name = f"{value.name}_as_{dtype.name.lower()}"
    cast = ir.node("Cast", [value], {"to": int(dtype)}, name=name)
    cast.outputs[0].name = name
    cast.outputs[0].type = ir.TensorType(dtype)
    cast.outputs[0].shape = value.shape
    return cast
