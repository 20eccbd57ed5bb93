"""Whether an exporter's graph is valid, before a graph pass changes it: ONNX's checker, and loading in ONNX Runtime."""

from __future__ import annotations

import re
from contextlib import closing
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import onnx_ir as ir

from adaptrt.errors import AdaptrtError, ExportError, ModelError
from adaptrt.graph.lint.forms import lowest_opset
from adaptrt.graph.lint.source_locations import source_location_of
from adaptrt.graph.model_file import check_model
from adaptrt.onnxfile.operators import STANDARD
from adaptrt.request import Request
from adaptrt.specs import Target

# the opset from which ONNX Runtime implements an operator on a CPU, where ONNX has had it for longer
_RUNTIME_OPSETS = {"DeformConv": 19}
_BFLOAT16 = re.compile(r"bfloat16", re.IGNORECASE)


def require_valid(graph: ir.Model, path: Path, request: Request, target: Target) -> None:
    """An ``ExportError`` names the operator and its line in the model. Nothing is loaded with ``--verify none``."""
    try:
        check_model(graph)
    except Exception as error:
        raise _invalid(graph, str(error), target) from error
    for node in graph.graph.all_nodes():
        needed, form = lowest_opset(node) if node.domain in STANDARD else (0, "")
        if needed > graph.opset_imports.get("", 0):
            raise ExportError(
                f"{node.op_type} with {form}{_at(node)} requires opset {needed} or later, but the export has opset "
                f"{graph.opset_imports.get('', 0)}.",
                hint=_later_opset(needed, target),
            )
    own = any(node.domain not in STANDARD for node in graph.graph.all_nodes())
    if request.verify == "none" or find_spec("onnxruntime") is None or (own and not request.ort_custom_ops):
        return
    from adaptrt.backends.onnxruntime.runner import OnnxRuntimeRunner

    try:
        with closing(OnnxRuntimeRunner(path, custom_ops=request.ort_custom_ops, optimize=False)):
            pass
    except ModelError as error:
        raise _invalid(graph, error.message.partition(": ")[2] or error.message, target, error) from error


def _invalid(graph: ir.Model, said: str, target: Target, cause: AdaptrtError | None = None) -> ExportError:
    said = said.strip().splitlines()[0].rstrip(".")
    late = next(
        (node for node in graph.graph.all_nodes() if node.op_type in said and node.op_type in _RUNTIME_OPSETS), None
    )
    if late is not None:
        needed = _RUNTIME_OPSETS[late.op_type]
        opset = graph.opset_imports.get("", 0)
        if opset >= needed:
            return ExportError(
                f"The installed ONNX Runtime ({version('onnxruntime')}) cannot run {late.op_type}{_at(late)}: {said}.",
                hint="Update: pip install -U onnxruntime. With --verify none, the file is not opened.",
            )
        return ExportError(
            f"ONNX Runtime supports {late.op_type} only from opset {needed}; the export has opset {opset}{_at(late)}.",
            hint=_later_opset(needed, target),
        )
    if _BFLOAT16.search(said):
        node = next((node for node in graph.graph.all_nodes() if _makes_bfloat16(node)), None)
        return ExportError(
            f"The model computes in bfloat16{_at(node)}, which the exported operators do not support: {said}.",
            hint="Remove torch.autocast and .bfloat16() from forward(), and use --precision bf16 instead.",
        )
    hint = cause.hint if cause is not None and "adaptrt inspect" not in (cause.hint or "") else None
    return ExportError(
        f"The exporter wrote an invalid graph: {said}.", hint=hint or "Try another --opset or --exporter."
    )


def _later_opset(needed: int, target: Target) -> str:
    if needed > target.newest_opset:
        return f"{target.title} supports opsets up to {target.newest_opset}: choose another --target."
    return f"Use --opset {needed}."


def _makes_bfloat16(node: ir.Node) -> bool:
    to = node.attributes.get("to")
    cast = node.op_type == "Cast" and to is not None and to.as_int() == ir.DataType.BFLOAT16
    return cast or any(value.dtype == ir.DataType.BFLOAT16 for value in node.outputs)


def _at(node: ir.Node | None) -> str:
    place = source_location_of(node) if node is not None else None
    if place is None:
        return ""
    return f" ({place.file}:{place.line}{f', {place.code}' if place.code else ''})"
