"""Graphs in mixed precision for measuring: some layers in int8, some nodes rounded as half precision rounds."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnx_ir as ir

from adaptrt.graph.casts import MOVING, keep_reasons
from adaptrt.graph.model_file import node_name, write_model
from adaptrt.quantization.placement import Layer, Placement
from adaptrt.quantization.quantize import Calibrated
from adaptrt.quantization.rewrite import insert_qdq
from adaptrt.specs import ModelSpec, Precision


def half_nodes(model: ir.Model, half: Precision, spec: ModelSpec | None) -> list[str]:
    """Names of the nodes that compute in half precision by default, in the order of the graph."""
    reasons = keep_reasons(model, half, spec, (), {})
    return [
        node_name(node)
        for node in model.graph
        if id(node) not in reasons
        and node.op_type not in MOVING
        and any(value.dtype == ir.DataType.FLOAT for value in node.outputs)
    ]


def write_mixed(calibrated: Calibrated, path: Path, int8: Collection[str], half: Collection[str] = ()) -> None:
    """Write the graph with Q/DQ nodes around the layers named in ``int8``; what the nodes in ``half`` give, and their
    weights, are float32 values that half precision can hold.
    """
    model: ir.Model = calibrated.model.clone()
    nodes = {node_name(node): node for node in model.graph}
    layers = [
        Layer(nodes[name], layer.axis, layer.positions)
        for layer in calibrated.found.placement.layers
        if (name := node_name(layer.node)) in int8
    ]
    insert_qdq(model, Placement(layers), calibrated.thresholds)
    round_to_half(model, half)
    write_model(model, path)


def round_to_half(model: ir.Model, names: Collection[str]) -> None:
    """Round the weights and the outputs of these nodes, in place; outputs of the graph stay as they are."""
    rounded: dict[str, ir.Value] = {}
    for node in list(model.graph):
        if node_name(node) not in names:
            continue
        for position, value in enumerate(node.inputs):
            if value is None or value.const_value is None or value.dtype != ir.DataType.FLOAT:
                continue
            if str(value.name) not in rounded:
                rounded[str(value.name)] = _half_weights(model, value)
            node.replace_input_with(position, rounded[str(value.name)])
        for value in node.outputs:
            if value.dtype == ir.DataType.FLOAT:
                _round(model, node, value)


def _half_weights(model: ir.Model, value: ir.Value) -> ir.Value:
    assert value.const_value is not None
    with np.errstate(over="ignore"):  # a weight beyond half precision becomes infinite there too
        array = value.const_value.numpy().astype(np.float16).astype(np.float32)
    name = f"{value.name}_half"
    made = ir.Value(
        name=name, const_value=ir.tensor(array, name=name), shape=value.shape, type=ir.TensorType(ir.DataType.FLOAT)
    )
    model.graph.register_initializer(made)
    return made


def _round(model: ir.Model, node: ir.Node, value: ir.Value) -> None:
    readers = list(value.uses())
    last = node
    current = value
    for dtype in (ir.DataType.FLOAT16, ir.DataType.FLOAT):
        name = f"{value.name}_{'down' if dtype == ir.DataType.FLOAT16 else 'up'}"
        cast = ir.node("Cast", [current], {"to": int(dtype)}, name=name)
        made = cast.outputs[0]
        made.name, made.type, made.shape = name, ir.TensorType(dtype), value.shape
        model.graph.insert_after(last, cast)
        last, current = cast, made
    for reader, position in readers:
        reader.replace_input_with(position, current)
