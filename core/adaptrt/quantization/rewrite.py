"""Q/DQ nodes in a graph, in the form that TensorRT reads: symmetric, zero point 0, constant scales."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from adaptrt.graph.model_file import add_constant
from adaptrt.quantization.placement import Placement, additions, is_residual, shortcut

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVELS = 127  # of a magnitude: -128 is not used, so that the grid is symmetric
# the smallest scale: exact enough in half precision, which the scale may be stored in
SMALLEST_SCALE = 2.0**-20


def insert_qdq(model: ir.Model, placement: Placement, thresholds: Mapping[str, float]) -> None:
    """A pair of QuantizeLinear and DequantizeLinear for each activation and for each weight, shared by its readers.

    Weights stay float32 initializers before their pair, which every version of TensorRT folds; biases have none. An
    addition of a residual reads what the convolution reads, so that no second copy of it is needed in float. Where a
    convolution computes the addition itself, the other addend gets a pair.
    """
    pairs: dict[tuple[str, int | None], ir.Value] = {}
    added = [
        (node, position)
        for node in additions(placement.layers)
        if (position := shortcut(node, placement.layers)) is not None
    ]
    for layer in placement.layers:
        for position, activation in layer.activations:
            _feed(model, layer.node, position, pairs, _scale(thresholds, activation), None)
            if layer.node.op_type == "Conv" and activation.producer() is not None:
                _feed_additions(activation, pairs[str(activation.name), None])
        weight, axis = layer.weight, layer.axis
        if weight is not None and axis is not None:
            assert weight.const_value is not None
            _feed(model, layer.node, 1, pairs, channel_scales(weight.const_value.numpy(), axis), axis)
    for node, position in added:
        value = node.inputs[position]
        assert value is not None
        _feed(model, node, position, pairs, _scale(thresholds, value), None)


def _scale(thresholds: Mapping[str, float], activation: ir.Value) -> NDArray[np.float32]:
    return np.array(max(thresholds[str(activation.name)] / LEVELS, SMALLEST_SCALE), np.float32)


def channel_scales(weights: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """A scale for each output channel: its largest magnitude is 127."""
    others = tuple(other for other in range(weights.ndim) if other != axis)
    largest = np.abs(weights).max(axis=others)
    scales: NDArray[np.float32] = np.maximum(np.where(largest > 0, largest, 1.0) / LEVELS, SMALLEST_SCALE)
    return scales.astype(np.float32)


def _feed(
    model: ir.Model,
    node: ir.Node,
    position: int,
    pairs: dict[tuple[str, int | None], ir.Value],
    scale: NDArray[np.float32],
    axis: int | None,
) -> None:
    value = node.inputs[position]
    assert value is not None
    key = (str(value.name), axis)
    if key not in pairs:
        pairs[key] = _pair(model, value, scale, axis, node)
    node.replace_input_with(position, pairs[key])


def _feed_additions(value: ir.Value, dequantized: ir.Value) -> None:
    for reader, position in list(value.uses()):
        if is_residual(reader):
            reader.replace_input_with(position, dequantized)


def _pair(model: ir.Model, value: ir.Value, scale: NDArray[np.float32], axis: int | None, reader: ir.Node) -> ir.Value:
    name = f"{value.name}_int8" if axis is None else f"{value.name}_int8_axis{axis}"
    parameters = [
        add_constant(model, f"{name}_scale", scale),
        add_constant(model, f"{name}_zero_point", np.zeros(scale.shape, np.int8)),
    ]
    attributes = {} if axis is None else {"axis": axis}
    quantize = ir.node("QuantizeLinear", [value, *parameters], attributes, name=f"{name}_quantize")
    quantized = quantize.outputs[0]
    dequantize = ir.node("DequantizeLinear", [quantized, *parameters], attributes, name=f"{name}_dequantize")
    for made, suffix, dtype in (
        (quantized, "quantized", ir.DataType.INT8),
        (dequantize.outputs[0], "dequantized", ir.DataType.FLOAT),
    ):
        made.name, made.type, made.shape = f"{name}_{suffix}", ir.TensorType(dtype), value.shape
    producer = value.producer()
    if producer is not None:
        model.graph.insert_after(producer, [quantize, dequantize])
    else:  # an input or an initializer; its first reader in the graph comes first here too
        model.graph.insert_before(reader, [quantize, dequantize])
    return dequantize.outputs[0]
