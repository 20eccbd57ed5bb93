"""Arithmetic and memory traffic of one run of a graph, counted from its nodes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir

from adaptrt.errors import GraphError
from adaptrt.onnxfile.operators import STANDARD, operator_name
from adaptrt.store.model_files import not_onnx

_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# products whose multiply-adds are not counted, and nodes with graphs inside
_UNCOUNTED = ("Attention", "ConvInteger", "DeformConv", "Einsum", "GRU", "If", "LSTM", "Loop", "MatMulInteger", "QLinearConv", "QLinearMatMul", "RNN", "Scan")  # fmt: skip
_VIEWS = ("Constant", "Flatten", "Identity", "Reshape", "Shape", "Squeeze", "Unsqueeze")


@dataclass(frozen=True)
class Work:
    """One run at given shapes.

    - ``operations``: two for each multiply-add of a convolution or matrix product; other nodes are not counted
    - ``least_bytes``: every weight, input and output once, which no fusion avoids
    - ``node_bytes``: what each node reads and writes, as if no nodes were fused
    """

    operations: float
    least_bytes: float
    node_bytes: float


def count_work(path: Path, shapes: Mapping[str, tuple[int, ...]], *, weight_bits: int | None = None) -> Work:
    """The work of an ONNX file. Raises a ``GraphError`` for an operator that cannot be counted; external data is not read.

    ``weight_bits``: what a backend stores of each floating-point weight at most, which ``least_bytes`` counts.
    """
    try:
        proto = onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise not_onnx(path) from error
    unknown = sorted({operator_name(node.domain, node.op_type) for node in proto.graph.node if not _is_counted(node)})
    if unknown:
        raise GraphError(f"{path.name} has operators that are not counted: {', '.join(unknown)}.")
    for tensor in proto.graph.input:
        if tensor.name in shapes:
            axes = tensor.type.tensor_type.shape
            del axes.dim[:]
            for size in shapes[tensor.name]:
                axes.dim.add().dim_value = size
    for tensor in proto.graph.output:
        tensor.type.tensor_type.ClearField("shape")  # inferred again, at these shapes
    try:
        model = ir.from_proto(onnx.shape_inference.infer_shapes(proto, data_prop=True))
    except Exception as error:
        raise GraphError(f"The shapes in {path.name} cannot be inferred: {error}") from error
    sizes = ((str(value.name), _elements(value)) for value in _values(model))
    elements = {name: size for name, size in sizes if size is not None}
    operations = 0.0
    for node in model.graph:
        if node.op_type in _PRODUCTS:
            count = multiply_adds(node, elements)
            if count is None:
                raise GraphError(f"{path.name}: the sizes of node {node.name!r} ({node.op_type}) are unknown.")
            operations += 2 * count
    ends = [*model.graph.inputs, *model.graph.outputs]
    least = sum(_bytes(one) for one in ends if not one.is_initializer())
    least += sum(_stored(weight, weight_bits) for weight in model.graph.initializers.values())
    moved = sum(
        _bytes(value)
        for node in model.graph
        if node.op_type not in _VIEWS
        for value in (*node.inputs, *node.outputs)
        if value is not None
    )
    return Work(operations, least, moved)


def multiply_adds(node: ir.Node, elements: Mapping[str, int]) -> float | None:
    """Multiply-adds of a convolution or matrix product; ``None`` for other nodes and unknown sizes.

    ``elements``: the number of elements of each value in one run.
    """
    if node.op_type not in _PRODUCTS or len(node.inputs) < 2 or node.inputs[0] is None or node.inputs[1] is None:
        return None
    given, weight = _shape(node.inputs[0]), _shape(node.inputs[1])
    if node.op_type == "ConvTranspose":  # each input element goes into every output channel of its group
        read = elements.get(str(node.inputs[0].name))
        return None if weight is None or read is None else float(read * math.prod(weight[1:]))
    made = elements.get(str(node.outputs[0].name))
    if made is None:
        return None
    if weight is not None and len(weight) > 1:
        if node.op_type == "Conv":
            return float(made * math.prod(weight[1:]))
        transposed = node.op_type == "Gemm" and bool(node.attributes.get_int("transB", 0))
        return float(made * weight[-1 if transposed else -2])
    if node.op_type == "MatMul":
        inner = weight[0] if weight else given[-1] if given else _last(node.inputs[0])
        return None if inner is None else float(made * inner)
    return None


def _is_counted(node: onnx.NodeProto) -> bool:
    """Operators of other domains, and functions in the file, can be products; NMS is not."""
    return node.op_type not in _UNCOUNTED if node.domain in STANDARD else "NMS" in node.op_type


def _values(model: ir.Model) -> list[ir.Value]:
    graph = model.graph
    return [*graph.inputs, *graph.initializers.values(), *(value for node in graph for value in node.outputs)]


def _shape(value: ir.Value) -> tuple[int, ...] | None:
    shape = value.const_value.shape if value.const_value is not None else value.shape
    if shape is None or not all(isinstance(size, int) for size in shape):
        return None
    return tuple(size for size in shape if isinstance(size, int))


def _last(value: ir.Value) -> int | None:
    """The size of the last axis, where others are symbolic."""
    size = value.shape[-1] if value.shape is not None and len(value.shape) else None
    return size if isinstance(size, int) else None


def _elements(value: ir.Value) -> int | None:
    shape = _shape(value)
    return None if shape is None else math.prod(shape)


def _stored(weight: ir.Value, bits: int | None) -> float:
    tensor = weight.const_value
    if bits is None or tensor is None or not tensor.dtype.is_floating_point():
        return _bytes(weight)
    return min(_bytes(weight), (_elements(weight) or 0) * bits / 8)


def _bytes(value: ir.Value) -> float:
    dtype = value.const_value.dtype if value.const_value is not None else value.dtype
    if dtype is None or dtype in (ir.DataType.UNDEFINED, ir.DataType.STRING):
        return 0.0
    return (_elements(value) or 0) * float(dtype.itemsize)
