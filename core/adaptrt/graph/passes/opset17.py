"""Opset 18 to 20 back to 17, for TensorRT 8: its parser takes newer forms for older ones, and computes something else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from adaptrt.errors import GraphError
from adaptrt.graph.model_file import add_constant, check_model, graph_of
from adaptrt.onnxfile.files import OnnxFiles
from adaptrt.onnxfile.operators import STANDARD

OPSET = 17
_NEWEST = 20
# attributes that came later, and the value that is the older behavior
_LATER: dict[str, dict[str, int | str | None]] = {
    "Resize": {"antialias": 0, "keep_aspect_ratio_policy": "stretch"},
    "Cast": {"saturate": 1},
    "CastLike": {"saturate": 1},
    "QuantizeLinear": {"saturate": 1},
    "Split": {"num_outputs": None},
}


def lower_opset(model: ir.Model) -> None:
    """Rewrite what changed after opset 17, in place; a ``GraphError`` names what has no older form."""
    opset = model.graph.opset_imports.get("", OPSET)
    if opset <= OPSET:
        return
    if opset > _NEWEST:
        raise _no_older_form([f"opset {opset}"])
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    problems = []
    for node in list(model.graph.all_nodes()):
        if node.domain not in STANDARD:
            continue
        problem = _lower(model, node)
        if problem:
            problems.append(problem)
    if problems:
        raise _no_older_form(problems)
    model.graph.opset_imports[""] = OPSET
    common.RemoveUnusedNodesPass()(model)


def write_lower_opset(source: Path, destination: Path, files: OnnxFiles) -> None:
    """The file in opset 17."""
    model = graph_of(source, files)
    common.ShapeInferencePass()(model)
    lower_opset(model)
    check_model(model)
    onnx.save(ir.to_proto(model), str(destination))
    files.hold(destination, model)


def _no_older_form(problems: Sequence[str]) -> GraphError:
    named = "; ".join(dict.fromkeys(problems))
    return GraphError(
        f"TensorRT 8 supports ONNX opsets up to {OPSET}, and this graph cannot be converted to it: {named}.",
        hint="Use --exporter torchscript, which writes opset 17.",
    )


def _lower(model: ir.Model, node: ir.Node) -> str | None:
    """Why this node has no older form; ``None`` where it has, and has it now."""
    if node.op_type == "Gelu":
        _spell_out_gelu(model, node)
        return None
    try:
        onnx.defs.get_schema(node.op_type, OPSET, "")
    except onnx.defs.SchemaError:
        return f"{node.op_type} was added after opset {OPSET}"
    if node.op_type.startswith("Reduce") and node.op_type != "ReduceSum":
        return _axes_to_attribute(node)
    if node.op_type == "Pad":
        return _pads_of_every_axis(model, node)
    if node.op_type == "Resize" and "axes" in node.attributes:
        return "Resize with axes"
    if node.op_type == "Split" and len(node.inputs) < 2 and not _divides(node):
        return "Split into unequal parts"
    for name, older in _LATER.get(node.op_type, {}).items():
        attribute = node.attributes.get(name)
        if attribute is not None and older is not None and attribute.value != older:
            return f"{node.op_type} with {name}"
        node.attributes.pop(name, None)
    reduction = node.attributes.get("reduction")
    if reduction is not None and reduction.as_string() not in ("none", "add", "mul"):
        return f"{node.op_type} with a reduction added in opset 18"
    return None


def _axes_to_attribute(node: ir.Node) -> str | None:
    if len(node.inputs) < 2 or node.inputs[1] is None:
        if "noop_with_empty_axes" in node.attributes and node.attributes["noop_with_empty_axes"].as_int():
            return f"{node.op_type} with noop_with_empty_axes"
        node.attributes.pop("noop_with_empty_axes", None)
        return None
    constant = node.inputs[1].const_value
    if constant is None:
        return f"{node.op_type} with computed axes"
    axes = [int(axis) for axis in constant.numpy()]
    node.attributes.pop("noop_with_empty_axes", None)
    node.attributes["axes"] = ir.AttrInt64s("axes", axes)
    node.resize_inputs(1)
    return None


def _pads_of_every_axis(model: ir.Model, node: ir.Node) -> str | None:
    mode = node.attributes["mode"].as_string() if "mode" in node.attributes else "constant"
    if mode == "wrap":
        return "Pad in mode wrap"
    if len(node.inputs) < 4 or node.inputs[3] is None:
        return None
    data, pads, axes = node.inputs[0], node.inputs[1], node.inputs[3]
    rank = len(data.shape) if data is not None and data.shape is not None else None
    if rank is None or pads is None or pads.const_value is None or axes.const_value is None:
        return "Pad with computed axes or pads, or an input of unknown rank"
    sizes, positions = pads.const_value.numpy(), axes.const_value.numpy()
    whole = np.zeros((2, rank), np.int64)
    for position, axis in enumerate(positions):
        whole[0, int(axis) % rank] = sizes[position]
        whole[1, int(axis) % rank] = sizes[len(positions) + position]
    name = f"{node.name or node.outputs[0].name}_pads"
    node.replace_input_with(1, add_constant(model, name, whole.reshape(-1)))
    node.resize_inputs(3)
    return None


def _divides(node: ir.Node) -> bool:
    """Whether parts are equal: without sizes, opset 17 can only split equally."""
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
    data = node.inputs[0]
    size = data.shape[axis] if data is not None and data.shape is not None else None
    return isinstance(size, int) and size % len(node.outputs) == 0


def _spell_out_gelu(model: ir.Model, node: ir.Node) -> None:
    """``0.5 x (1 + erf(x / sqrt 2))``, or the formula with tanh."""
    (x,) = node.inputs
    assert x is not None
    approximate = node.attributes["approximate"].as_string() if "approximate" in node.attributes else "none"
    base = node.name or str(node.outputs[0].name)
    made: list[ir.Node] = []

    def add(operator: str, *inputs: ir.Value) -> ir.Value:
        new = ir.node(operator, list(inputs), name=f"{base}/{operator}_{len(made)}")
        new.outputs[0].name = f"{base}/{operator}_{len(made)}_output"
        new.outputs[0].type, new.outputs[0].shape = x.type, x.shape
        made.append(new)
        return new.outputs[0]

    def number(value: float) -> ir.Value:
        dtype = x.dtype.numpy() if x.dtype is not None else np.dtype(np.float32)
        return add_constant(model, f"{base}/constant_{len(model.graph.initializers)}", np.array(value, dtype))

    if approximate == "tanh":
        cubed = add("Mul", add("Mul", x, x), x)
        inner = add("Mul", add("Add", x, add("Mul", cubed, number(0.044715))), number(float(np.sqrt(2 / np.pi))))
        bent = add("Tanh", inner)
    else:
        bent = add("Erf", add("Mul", x, number(float(np.sqrt(0.5)))))
    result = add("Mul", add("Mul", x, add("Add", bent, number(1.0))), number(0.5))
    graph = node.graph
    assert graph is not None
    graph.insert_before(node, made)
    old = node.outputs[0]
    result.name, name = old.name, old.name
    old.name = f"{name}_replaced"
    old.replace_all_uses_with(result, replace_graph_outputs=True)
    graph.remove(node, safe=True)
