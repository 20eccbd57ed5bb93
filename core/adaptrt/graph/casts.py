"""Convert float32 graphs to half precision through the types of the graph, as strongly typed TensorRT 10+ expects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx.version_converter
import onnx_ir as ir
from onnx_ir.passes import common

from adaptrt.errors import GraphError
from adaptrt.graph.model_file import add_constant, outline_nodes
from adaptrt.onnxfile.node_rules import coordinate_nodes, decoding_nodes, matching_nodes, pixel_outputs
from adaptrt.specs import ModelSpec, Precision

# sums, exponentials and powers leave the range of half precision, or lose in it what they are for
SENSITIVE = frozenset(
    {
        "CumSum",
        "Exp",
        "GroupNormalization",
        "InstanceNormalization",
        "LayerNormalization",
        "Log",
        "LogSoftmax",
        "LpNormalization",
        "Pow",
        "RMSNormalization",
        "Range",
        "Reciprocal",
        "ReduceL1",
        "ReduceL2",
        "ReduceLogSum",
        "ReduceLogSumExp",
        "ReduceMean",
        "ReduceProd",
        "ReduceSum",
        "ReduceSumSquare",
        "RoiAlign",
        "Softmax",
    }
)
# only move numbers about: they take the type of what surrounds them
MOVING = frozenset(
    {
        "Concat",
        "DepthToSpace",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "Reshape",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    }
)
# the first opset whose convolutions know an element type, where it is later than what exporters write
_FIRST_OPSET = {"bfloat16": 22}
_FIRST_OPSET_OF_SCALES = 19  # of Q/DQ nodes in half precision
FP16_MAX = 65504.0
# beyond a quarter of what half precision holds, another input may go over it
RANGE_LIMIT = FP16_MAX / 4
NARROW_RANGE = frozenset({"float16"})  # holds less than float32 does


@dataclass
class CastReport:
    """The result: ``low`` nodes in half precision, names of float32 nodes by reason (``kept``), and added ``casts``;
    ``flushed`` counts nonzero weights that are zero in half precision."""

    low: int = 0
    kept: dict[str, list[str]] = field(default_factory=dict)
    casts: int = 0
    flushed: int = 0

    @property
    def note(self) -> str:
        kept = ", ".join(f"{len(names)} {reason}" for reason, names in self.kept.items() if names)
        return f"{self.low} nodes in half precision; float32: {kept or 'none'}; {self.casts} casts"


def insert_casts(
    model: ir.Model,
    precision: Precision,
    spec: ModelSpec | None,
    *,
    keep_fp32: Sequence[str] = (),
    ranges: Mapping[str, float] | None = None,
) -> CastReport:
    """Give the graph its types, in place; inputs and outputs stay float32.

    float32 stay: box decoding (``decoding_nodes``), coordinates (``coordinate_nodes``), what ``keep_fp32`` matches, operators in ``SENSITIVE`` or unknown to
    ONNX in half precision, nodes around values beyond ``RANGE_LIMIT`` (``ranges``: the largest magnitude of each value),
    and nodes with weights that half precision cannot hold. Everything else computes in half.
    """
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    common.ShapeInferencePass()(model)
    reasons = keep_reasons(model, precision, spec, keep_fp32, ranges or {})
    _spare_moves(model, reasons)
    low = {node for node in model.graph if id(node) not in reasons and _computes_floats(node)}
    typing = CastReport(low=len(low))
    for node in model.graph:
        if id(node) in reasons and _computes_floats(node):
            typing.kept.setdefault(reasons[id(node)], []).append(node.name or "")
    _CastInserter(model, precision, low, typing).run()
    return typing


def raise_opset(model: ir.Model, precision: Precision) -> ir.Model:
    """bfloat16, and Q/DQ nodes in half, need a later ONNX opset than exporters write; float16 is fine with all of them."""
    needed = _FIRST_OPSET.get(precision.onnx_type, 0)
    if any(node.op_type == "QuantizeLinear" for node in model.graph):
        needed = max(needed, _FIRST_OPSET_OF_SCALES)
    if _opset(model) >= needed:
        return model
    try:
        raised = ir.from_proto(onnx.version_converter.convert_version(ir.to_proto(model), needed))
    except RuntimeError as error:
        raise GraphError(
            f"The graph cannot be converted to opset {needed}, which {precision.onnx_type} requires: {error}",
            hint="Use --precision fp16, or export with --exporter dynamo.",
        ) from error
    carried = {value.name: node.metadata_props for node in model.graph.all_nodes() for value in node.outputs}
    for node in raised.graph.all_nodes():  # the converter drops what nodes carry, the line that made them among it
        for value in node.outputs:
            node.metadata_props.update(carried.get(value.name, {}))
    return raised


def keep_reasons(
    model: ir.Model,
    precision: Precision,
    spec: ModelSpec | None,
    keep_fp32: Sequence[str],
    ranges: Mapping[str, float],
) -> dict[int, str]:
    """Why a node stays float32, by the node's identity."""
    nodes = list(model.graph)
    outline = outline_nodes(nodes)
    weights = {
        name: int(np.prod(value.shape.numpy())) for name, value in model.graph.initializers.items() if value.shape
    }
    decoding = set(decoding_nodes(outline, pixel_outputs(spec), weights))
    coordinates = set(coordinate_nodes(outline, weights))
    named = set(matching_nodes(outline, keep_fp32))
    captured = _captured_values(model)
    opset = _opset(model)
    reasons: dict[int, str] = {}
    for node, known in zip(nodes, outline, strict=True):
        if known.name in named:
            reasons[id(node)] = "requested"
        elif known.name in decoding:
            reasons[id(node)] = "box decoding"
        elif known.name in coordinates:
            reasons[id(node)] = "coordinates"
        elif node.op_type in SENSITIVE:
            reasons[id(node)] = "sensitive"
        elif (
            _has_graphs(node)
            or any(value in captured for value in node.outputs)
            or not low_positions(node, precision, opset)[0]
        ):
            reasons[id(node)] = "no half-precision form"
        elif precision.onnx_type in NARROW_RANGE and _leaves_range(node, ranges):
            reasons[id(node)] = "out of range"
    return reasons


class _CastInserter:
    """Changes types and adds casts; each value is cast once."""

    def __init__(self, model: ir.Model, precision: Precision, low: set[ir.Node], typing: CastReport) -> None:
        self._model = model
        self._precision = precision
        self._dtype = ir.DataType[precision.onnx_type.upper()]
        self._opset = _opset(model)
        self._low = low
        self._typing = typing
        self._casts: dict[tuple[str, ir.DataType], ir.Value] = {}
        self._halves: dict[str, ir.Value] = {}

    def run(self) -> None:
        graph = self._model.graph
        positions = {
            node: low_positions(node, self._precision, self._opset) for node in self._low
        }  # before types change
        nothing: tuple[set[int], set[int]] = (set(), set())
        for node in list(graph):
            takes, gives = positions.get(node, nothing)
            for position, value in enumerate(node.inputs):
                wanted = self._dtype if position in takes else ir.DataType.FLOAT
                if value is None or value.dtype == wanted or value.dtype not in (self._dtype, ir.DataType.FLOAT):
                    continue
                node.replace_input_with(position, self._as(value, wanted))
            for position in gives:
                node.outputs[position].type = ir.TensorType(self._dtype)  # copies of a graph share the old one
        for position, value in enumerate(graph.outputs):
            if value.dtype == self._dtype:
                graph.outputs[position] = self._output(value)
        common.RemoveUnusedNodesPass()(self._model)

    def _as(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        """The value in another type: weights are converted here and now, the rest by a Cast."""
        name = str(value.name)
        if value.is_initializer() and dtype == self._dtype:
            if name not in self._halves:
                self._halves[name] = self._half(value)
            return self._halves[name]
        key = (name, dtype)
        if key not in self._casts:
            cast = ir.node("Cast", [value], {"to": int(dtype)}, name=f"{name}_to_{dtype.name.lower()}")
            cast.outputs[0].name = f"{name}_{dtype.name.lower()}"
            cast.outputs[0].type = ir.TensorType(dtype)
            cast.outputs[0].shape = value.shape
            producer = value.producer()
            if producer is None:
                first = self._model.graph[0]
                self._model.graph.insert_before(first, cast)
            else:
                self._model.graph.insert_after(producer, cast)
            self._casts[key] = cast.outputs[0]
            self._typing.casts += 1
        return self._casts[key]

    def _half(self, value: ir.Value) -> ir.Value:
        tensor = value.const_value
        assert tensor is not None
        array = np.asarray(tensor.numpy(), np.float32)
        half = array.astype(self._dtype.numpy())
        self._typing.flushed += int(np.count_nonzero(array) - np.count_nonzero(half))
        return add_constant(self._model, f"{value.name}_{self._precision.name}", half)

    def _output(self, value: ir.Value) -> ir.Value:
        """A float32 output under the old name; what computed it in half gets another."""
        name = str(value.name)
        value.name = f"{name}_{self._precision.name}"
        cast = ir.node("Cast", [value], {"to": int(ir.DataType.FLOAT)}, name=f"{name}_to_float")
        producer = value.producer()
        assert producer is not None
        self._model.graph.insert_after(producer, cast)
        cast.outputs[0].name = name
        cast.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
        cast.outputs[0].shape = value.shape
        self._typing.casts += 1
        return cast.outputs[0]


def low_positions(node: ir.Node, precision: Precision, opset: int) -> tuple[set[int], set[int]]:
    """Which inputs and outputs of a node may be in half: float32 ones whose type ONNX leaves open for it."""
    try:
        schema = onnx.defs.get_schema(node.op_type, opset, node.domain)
    except onnx.defs.SchemaError:
        return set(), set()
    allowed = {
        constraint.type_param_str
        for constraint in schema.type_constraints
        if f"tensor({precision.onnx_type})" in constraint.allowed_type_strs
    }
    takes = {
        position
        for position, value in enumerate(node.inputs)
        if value is not None and value.dtype == ir.DataType.FLOAT and _parameter(schema.inputs, position) in allowed
    }
    bound = {_parameter(schema.inputs, position) for position in takes}
    gives = {
        position
        for position, value in enumerate(node.outputs)
        if value.dtype == ir.DataType.FLOAT and _parameter(schema.outputs, position) in bound
    }
    return takes, gives


def _parameter(formal: Sequence[onnx.defs.OpSchema.FormalParameter], position: int) -> str:
    """The type parameter at a position; the last one of an operator may stand for many."""
    return formal[min(position, len(formal) - 1)].type_str if formal else ""


def _opset(model: ir.Model) -> int:
    return model.graph.opset_imports.get("", 18)


def _computes_floats(node: ir.Node) -> bool:
    return any(value.dtype == ir.DataType.FLOAT for value in node.outputs)


def _has_graphs(node: ir.Node) -> bool:
    return any(
        attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for attribute in node.attributes.values()
    )


def _captured_values(model: ir.Model) -> set[ir.Value]:
    """Values of the main graph that sub-graphs read: they have to keep their type."""
    return {
        value
        for graph in model.graph.subgraphs()
        for node in graph
        for value in node.inputs
        if value is not None and value.graph is model.graph
    }


def _leaves_range(node: ir.Node, ranges: Mapping[str, float]) -> bool:
    values = [*node.inputs, *node.outputs]
    if any(ranges.get(str(value.name), 0.0) > RANGE_LIMIT for value in values if value is not None):
        return True
    for value in node.inputs:
        if value is None or not value.is_initializer() or value.dtype != ir.DataType.FLOAT or value.const_value is None:
            continue
        array = value.const_value.numpy()
        if array.size and float(np.abs(array[np.isfinite(array)]).max(initial=0.0)) > FP16_MAX:
            return True
    return False


def _spare_moves(model: ir.Model, reasons: dict[int, str]) -> None:
    """Keep nodes that only move data between two float32 nodes in float32 as well, since casts around them are useless."""
    for node in reversed(list(model.graph)):
        if node.op_type not in MOVING or id(node) in reasons:
            continue
        makers = [value.producer() for value in node.inputs if value is not None and value.dtype == ir.DataType.FLOAT]
        users = [user for value in node.outputs for user in value.consumers()]
        if all(maker is None or id(maker) in reasons for maker in makers) and all(
            id(user) in reasons for user in users
        ):
            reasons[id(node)] = "between float32 nodes"
