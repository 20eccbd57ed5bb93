"""Forms of a supported operator that a target does not support, and the lowest opset that a form requires.

Where each entry comes from:

- operator table: ``docs/operators.md`` of onnx-tensorrt, for 8.6 and for 10.15, which is also used for 11
- parser: the source of onnx-tensorrt 8.6: an assertion, or an attribute that it never reads, so that the engine would
  compute something else
- documentation: that of the TensorRT layer
- ``TensorRT-RTX 1.7.1``: run without a GPU, it rejected a graph of this form. Forms that it parsed and built for compute
  capability 8.6 have no entry for rtx: Einsum with an ellipsis, a diagonal or three operands, GridSample of five axes,
  cubic Resize
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from adaptrt.specs.targets import Target

_MODES = ("half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric", "align_corners")


@dataclass(frozen=True)
class Form:
    """``holds``: whether a node has this form. ``refused``: the source, by the operator table of a target."""

    operators: tuple[str, ...]
    name: str
    holds: Callable[[ir.Node], bool]
    refused: Mapping[str, str]


def refused_forms(node: ir.Node, target: Target) -> Iterator[str]:
    """Forms of this node that the target does not support, with the source."""
    for form in _BY_OPERATOR.get(node.op_type, ()):
        source = form.refused.get(target.operator_table)
        if source is not None and form.holds(node):
            yield f"{form.name} ({source})"


def lowest_opset(node: ir.Node) -> tuple[int, str]:
    """The lowest opset that has this form of a standard operator, with its name; 0 if unknown."""
    found = [(opset, name) for opset, name, holds in _OPSETS.get(node.op_type, ()) if holds(node)]
    return max(found, default=(0, ""))


def _attribute(node: ir.Node, name: str, default: Any) -> Any:
    found = node.attributes.get(name)
    value = default if found is None else found.value
    return value.decode() if isinstance(value, bytes) else value


def _rank(node: ir.Node) -> int:
    value = node.inputs[0] if node.inputs else None
    return len(value.shape) if value is not None and value.shape is not None else 0


def _equals(name: str, *values: Any) -> Callable[[ir.Node], bool]:
    return lambda node: bool(_attribute(node, name, None) in values)


def _terms(node: ir.Node) -> list[str]:
    inputs = str(_attribute(node, "equation", "")).replace(" ", "").partition("->")[0]
    return inputs.split(",")


def _diagonal(node: ir.Node) -> bool:
    letters = [re.sub(r"\.", "", term) for term in _terms(node)]
    return any(len(set(term)) < len(term) for term in letters)


def _dilated(node: ir.Node) -> bool:
    return any(step != 1 for step in _attribute(node, "dilations", ()))


def _reduces(node: ir.Node) -> bool:
    return bool(_attribute(node, "reduction", "none") != "none")


def _zero_point(node: ir.Node) -> bool:
    """Whether a zero point is known, and not 0."""
    value = node.inputs[2] if len(node.inputs) > 2 else None
    tensor = value.const_value if value is not None else None
    return tensor is not None and tensor.size <= 1_000_000 and bool(tensor.numpy().astype("int32").any())


def _computed(index: int) -> Callable[[ir.Node], bool]:
    """Whether an input is known only when the graph runs."""

    def computed(node: ir.Node) -> bool:
        value = node.inputs[index] if len(node.inputs) > index else None
        producer = value.producer() if value is not None else None
        known = value is None or value.const_value is not None or value.is_initializer()
        return not known and (producer is None or producer.op_type != "Constant")

    return computed


_OLD_TABLE = "operator table of onnx-tensorrt 8.6"
_TABLE = "operator table of onnx-tensorrt 10.15"
_RTX = "rejected by TensorRT-RTX 1.7.1"
_LATER = {"10": _TABLE, "11": _TABLE}
_PARSER = "parser of TensorRT 8.6"
_UNREAD = "ignored by the parser of TensorRT 8.6"
FORMS = (
    Form(("Einsum",), "equation with an ellipsis", lambda node: "." in str(_attribute(node, "equation", "")), {"8": _OLD_TABLE}),
    Form(("Einsum",), "equation with a diagonal", _diagonal, {"8": _OLD_TABLE}),
    Form(("Einsum",), "more than two operands", lambda node: len(_terms(node)) > 2, {"8": "documentation of IEinsumLayer"}),
    Form(
        ("Einsum",), "upper-case labels", lambda node: bool(re.search("[A-Z]", str(_attribute(node, "equation", "")))),
        {"8": _PARSER, "rtx": _RTX},
    ),
    Form(("GridSample",), "5D input", lambda node: _rank(node) > 4, {"8": "documentation of IGridSampleLayer", **_LATER}),
    Form(("Pad",), "mode wrap", _equals("mode", "wrap"), {"8": _PARSER}),
    Form(("MaxPool", "AveragePool", "LpPool"), "dilations", _dilated, {"8": _PARSER, **_LATER, "rtx": _RTX}),
    Form(
        ("MaxPool",), "indices output in use", lambda node: len(node.outputs) > 1 and bool(node.outputs[1].uses()),
        {"8": _OLD_TABLE, **_LATER, "rtx": _RTX},
    ),
    Form(("Resize",), "antialias", _equals("antialias", 1), {"8": _UNREAD, **_LATER, "rtx": _RTX}),
    Form(
        ("Resize",), "unsupported coordinate transformation mode",
        lambda node: _attribute(node, "coordinate_transformation_mode", "half_pixel") not in _MODES,
        {"8": _OLD_TABLE, **_LATER, "rtx": _RTX},
    ),
    Form(
        ("Resize",), "aspect ratio policy other than stretch", _equals("keep_aspect_ratio_policy", "not_larger", "not_smaller"),
        {"8": _UNREAD, **_LATER, "rtx": _RTX},
    ),
    Form(("ScatterND",), "reduction", _reduces, {"8": _UNREAD, **_LATER, "rtx": _RTX}),
    Form(("ScatterElements",), "reduction", _reduces, {"8": _UNREAD, "rtx": _RTX}),
    Form(("LSTM", "GRU", "RNN"), "layout 1", _equals("layout", 1), {"8": _UNREAD, **_LATER}),
    Form(("LSTM",), "input_forget", _equals("input_forget", 1), {"8": _UNREAD, **_LATER}),
    Form(
        ("QuantizeLinear", "DequantizeLinear"), "nonzero zero point", _zero_point,
        {"8": _OLD_TABLE, **_LATER, "rtx": _RTX},
    ),
    Form(("CumSum",), "computed axis", _computed(1), {"8": _OLD_TABLE, **_LATER}),
    Form(("OneHot",), "computed depth", _computed(1), _LATER),
    Form(("TopK",), "unsorted results", _equals("sorted", 0), _LATER),
)  # fmt: skip

_BY_OPERATOR: dict[str, list[Form]] = {}
for _form in FORMS:
    for _operator in _form.operators:
        _BY_OPERATOR.setdefault(_operator, []).append(_form)

# what the schema of ONNX leaves to the text of the specification: values of attributes, and ranks
_OPSETS: Mapping[str, tuple[tuple[int, str, Callable[[ir.Node], bool]], ...]] = {
    "Pad": ((19, "mode wrap", _equals("mode", "wrap")),),
    "GridSample": (
        (20, "5D input", lambda node: _rank(node) > 4),
        (20, "mode linear or cubic", _equals("mode", "linear", "cubic")),
    ),
    "Resize": (
        (19, "half_pixel_symmetric", _equals("coordinate_transformation_mode", "half_pixel_symmetric")),
        (11, "cubic", _equals("mode", "cubic")),
    ),
    "ScatterND": (
        (18, "reduction max or min", _equals("reduction", "max", "min")),
        (16, "reduction", _equals("reduction", "add", "mul")),
    ),
    "ScatterElements": (
        (18, "reduction max or min", _equals("reduction", "max", "min")),
        (16, "reduction", _equals("reduction", "add", "mul")),
    ),
}
