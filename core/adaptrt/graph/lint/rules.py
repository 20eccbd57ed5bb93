"""The rules: what each looks for in a graph, its severity, and what to write instead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import onnx_ir as ir

from adaptrt.graph.lint.forms import lowest_opset, refused_forms
from adaptrt.graph.lint.hits import Hit
from adaptrt.graph.lint.operators import refusal
from adaptrt.graph.lint.raw_outputs import raw_outputs
from adaptrt.graph.model_file import node_name
from adaptrt.onnxfile.operators import STANDARD, operator_name
from adaptrt.report import Severity
from adaptrt.specs import ModelSpec
from adaptrt.specs.targets import Target

OLDEST_OPSET = 11
HALF_PIXELS = "half-pixels"


@dataclass(frozen=True)
class Rule:
    """What a finding says; ``RULES`` has them by name, in the order of the report."""

    severity: Severity
    message: str
    advice: str


RULES = {
    "shape-read": Rule(
        "warning", "tensor sizes are read at run time",
        "use int(x.shape[i]) for each fixed axis, so that only dynamic axes stay symbolic",
    ),
    "resize-by-size": Rule(
        "warning", "the output size of an interpolation is computed in the graph",
        "use interpolate(scale_factor=...) instead of a size read from a tensor",
    ),
    "reshape-by-size": Rule(
        "warning", "the target shape of a reshape is computed in the graph",
        "use reshape(-1, ...), with -1 for the batch and constants for the other axes",
    ),
    "free-axis": Rule(
        "error", "an axis is dynamic without being requested", "request dynamic axes with --dynamic, --batch or --shape"
    ),
    "opset": Rule("error", "unsupported opset", "export with another --opset, or choose another --target"),
    "scatter": Rule(
        "warning", "values are written into a tensor (an in-place slice assignment)",
        "build the result with torch.cat, torch.where, or multiplication by a mask",
    ),
    "many-axes": Rule(
        "info", "tensors with five or more axes", "merge axes where possible: TensorRT is fastest with up to four"
    ),
    HALF_PIXELS: Rule(
        "error", "pixel coordinates are computed in half precision, which resolves only 0.5 px above 512",
        "keep the decoding in float32: --keep-fp32 'PATTERN'",
    ),
    "raw-output": Rule(
        "info", "graph outputs are not decoded",
        "decode in forward() where it is cheap (boxes in pixels, sigmoid or softmax of scores): return boxes and scores",
    ),
    "negative-gather": Rule(
        "warning", "negative indices, for which TensorRT has returned wrong results", "use x[:, n - 1] instead of x[:, -1]"
    ),
    "int64": Rule("warning", "int64 arithmetic on data", "convert to int32 or float32 first: .to(torch.int32)"),
    "data-dependent": Rule(
        "warning", "the output shape depends on data",
        "use a mask, torch.where, or topk with a fixed k; apply thresholds and NMS after the engine",
    ),
    "type": Rule("error", "data type not supported by TensorRT", "use float32, float16, int32 or bool"),
    "unsupported": Rule(
        "error", "operator not supported by TensorRT's parser", "rewrite it with supported operators, or load a plugin (--plugin-lib)"
    ),
    "no-kernel": Rule(
        "error", "the target has no kernel for this operator",
        "remove it from the graph; apply thresholds and NMS after the engine",
    ),
    "needs-device": Rule(
        "warning", "building this operator needs a CUDA device", "build on a machine with an NVIDIA GPU"
    ),
    "shapes": Rule(
        "warning", "shape inference failed, so rules that depend on shapes may miss problems",
        "run onnx.checker.check_model(path, full_check=True) to find the node",
    ),
    "custom-operator": Rule(
        "warning", "operator outside the ONNX standard", "load a TensorRT plugin for it: --plugin-lib FILE"
    ),
    "restriction": Rule(
        "error", "the target does not support this form of the operator",
        "rewrite it with supported operators, or choose another --target",
    ),
    "opset-form": Rule(
        "error", "this form of the operator is newer than the file's opset", "export again with the required --opset"
    ),
    "unproven": Rule(
        "warning", "support not confirmed", "build the engine to find out, or choose another --target or other operators"
    ),
}  # fmt: skip


_ARITHMETIC = frozenset(
    [
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Mod",
        "Pow",
        "CumSum",
        "Range",
        "Sum",
        "Min",
        "Max",
        "ReduceSum",
        "ReduceProd",
        "MatMul",
        "Neg",
        "Abs",
    ]
)
_DATA_DEPENDENT = frozenset(["Compress", "NonMaxSuppression", "NonZero", "Unique"])
# types missing from the parser's tables: of every generation, and what came with TensorRT 9 and 10
_NO_TYPES = frozenset(
    ir.DataType[name] for name in ("INT16", "UINT16", "UINT32", "UINT64", "STRING", "COMPLEX64", "COMPLEX128")
)
_LATER_TYPES = frozenset(
    ir.DataType[name] for name in ("BFLOAT16", "FLOAT8E4M3FN", "FLOAT8E5M2", "INT4", "UINT4", "FLOAT4E2M1")
)
_HALF = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


@dataclass
class Graph:
    """The graph as the rules look at it; shapes are inferred."""

    model: ir.Model
    spec: ModelSpec | None
    target: Target
    decoding: frozenset[str] = frozenset()
    nodes: list[ir.Node] = field(init=False)

    def __post_init__(self) -> None:
        self.nodes = list(self.model.graph.all_nodes())

    @property
    def opset(self) -> int:
        return self.model.graph.opset_imports.get("", 0)

    @cached_property
    def from_data(self) -> set[ir.Value]:
        """Values that depend on what is in the inputs, not only on their sizes."""
        found = set(self.model.graph.inputs) - set(self.model.graph.initializers.values())
        for node in self.nodes:
            if node.op_type not in ("Shape", "Size") and any(value in found for value in node.inputs):
                found.update(node.outputs)
        return found


def constant(value: ir.Value | None) -> bool:
    """Whether a value is known before anything runs."""
    if value is None or value.const_value is not None or value.is_initializer():
        return True
    producer = value.producer()
    return producer is not None and producer.op_type == "Constant"


def number(value: ir.Value | None) -> list[int | float] | None:
    """The numbers of a small constant."""
    if value is None:
        return None
    tensor = value.const_value
    producer = value.producer()
    if tensor is None and producer is not None and producer.op_type == "Constant" and "value" in producer.attributes:
        tensor = producer.attributes["value"].as_tensor()
    if tensor is None or tensor.size > 100_000:
        return None
    numbers: list[int | float] = tensor.numpy().ravel().tolist()
    return numbers


def hits(graph: Graph) -> Iterator[Hit]:
    """Everything that breaks a rule."""
    yield from _whole_graph(graph)
    yield from raw_outputs(graph.model, graph.spec)
    for value in graph.model.graph.inputs:
        yield from _type(value, graph.target)
        if value.dtype == ir.DataType.INT64 and not graph.target.int64:
            yield Hit("int64", "", detail=f"TensorRT 8 treats input {value.name} as int32", severity="info")
    for node in graph.nodes:
        name = operator_name(node.domain, node.op_type)
        if node.domain not in STANDARD:
            yield Hit("custom-operator", name, node)
            continue
        refused = refusal(name, graph.target)
        if refused is not None:
            yield Hit(refused[0], name, node, refused[1])
        for value in node.outputs:
            yield from _type(value, graph.target, node)
        for rule, detail in (*_shapes(node), *_values(node, graph), *_restrictions(node, graph)):
            # later generations do compute in int64, only slower
            yield Hit(rule, name, node, detail, "info" if rule == "int64" and graph.target.int64 else None)


def _whole_graph(graph: Graph) -> Iterator[Hit]:
    newest = graph.target.newest_opset
    if graph.opset < OLDEST_OPSET:
        yield Hit("opset", "", detail=f"opset {graph.opset}; at least {OLDEST_OPSET} is needed")
    elif graph.opset > newest:
        yield Hit(
            "opset", "", detail=f"opset {graph.opset}; {graph.target.title} fully supports opsets up to {newest}",
            severity="error" if graph.target.exporter == "torchscript" else "warning",
        )  # fmt: skip
    asked = {tensor.name: tensor.dims for tensor in graph.spec.inputs} if graph.spec is not None else {}
    for value in graph.model.graph.inputs:
        dims = asked.get(str(value.name))
        for axis, size in enumerate(value.shape or ()):
            if dims is not None and axis < len(dims) and not isinstance(size, int) and not dims[axis].dynamic:
                yield Hit("free-axis", "", detail=f"axis {axis} of {value.name}")


def _type(value: ir.Value, target: Target, node: ir.Node | None = None) -> Iterator[Hit]:
    name = node.op_type if node is not None else ""
    if value.dtype == ir.DataType.DOUBLE:
        yield Hit("type", name, node, "float64 is computed as float32", severity="warning")
    elif value.dtype in _NO_TYPES or (not target.bf16 and value.dtype in _LATER_TYPES):
        yield Hit("type", name, node, value.dtype.name.lower())


def _shapes(node: ir.Node) -> Iterator[tuple[str, str]]:
    if node.op_type in ("Shape", "Size"):
        yield "shape-read", ""
    if (
        node.op_type == "Resize"
        and len(node.inputs) > 3
        and node.inputs[3] is not None
        and not constant(node.inputs[3])
    ):
        yield "resize-by-size", ""
    if node.op_type == "Reshape" and not constant(node.inputs[1]):
        yield "reshape-by-size", ""
    if node.op_type != "Constant" and any(value.shape is not None and len(value.shape) > 4 for value in node.outputs):
        yield "many-axes", ""


def _values(node: ir.Node, graph: Graph) -> Iterator[tuple[str, str]]:
    if node.op_type in ("ScatterND", "ScatterElements"):
        yield "scatter", ""
    if node.op_type == "Gather" and any(index < 0 for index in number(node.inputs[1]) or ()):
        yield "negative-gather", ""
    if (
        node.op_type in _ARITHMETIC
        and node.outputs[0].dtype == ir.DataType.INT64
        and any(value in graph.from_data for value in node.inputs)
    ):
        yield "int64", "" if graph.target.int64 else f"{graph.target.title} narrows it to int32"
    if node.op_type in _DATA_DEPENDENT:
        yield "data-dependent", ""
    if node_name(node) in graph.decoding and any(value.dtype in _HALF for value in node.outputs):
        yield HALF_PIXELS, ""


def _restrictions(node: ir.Node, graph: Graph) -> Iterable[tuple[str, str]]:
    """Forms that the target does not support, and forms that are newer than the file's opset."""
    for detail in refused_forms(node, graph.target):
        yield "restriction", detail
    if node.op_type == "TopK":
        wanted = number(node.inputs[1]) or [0]
        if wanted[0] > 3840:
            yield "restriction", f"k = {wanted[0]} exceeds 3840 (operator table of onnx-tensorrt 10.15)"
    opset, form = lowest_opset(node)
    if opset > graph.opset:
        yield "opset-form", f"{form} requires opset {opset}; the file has opset {graph.opset}"
