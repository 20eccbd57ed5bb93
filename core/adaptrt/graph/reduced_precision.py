"""Write an ONNX file in half precision, and a float32 form of it for verification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from adaptrt.errors import GraphError, PluginError
from adaptrt.graph.casts import NARROW_RANGE, CastReport, insert_casts, raise_opset
from adaptrt.graph.emulation import emulate_low_precision
from adaptrt.graph.model_file import check_model, graph_of, write_model
from adaptrt.graph.ranges import measure_ranges
from adaptrt.onnxfile.files import OnnxFiles
from adaptrt.specs import ModelSpec, Precision
from adaptrt.specs.precisions import PRECISIONS

if TYPE_CHECKING:
    from numpy.typing import NDArray


def write_reduced(
    source: Path,
    destination: Path,
    precision: Precision,
    spec: ModelSpec | None,
    files: OnnxFiles,
    *,
    keep_fp32: Sequence[str] = (),
    samples: Sequence[Mapping[str, NDArray[Any]]] = (),
) -> tuple[CastReport, list[str]]:
    """Write the graph in half precision; returns the cast report, and notes.

    ``samples`` are inputs for measuring the range of every value; without them, or if ONNX Runtime cannot run the
    graph, ranges are not considered. Raises a ``PluginError`` if no ONNX operator computes in the precision's type.
    """
    _require_computed_type(precision)
    notes = []
    ranges: dict[str, float] = {}
    if precision.onnx_type in NARROW_RANGE and samples:
        try:
            ranges = measure_ranges(graph_of(source, files), samples, destination.parent)
        except Exception as error:  # ONNX Runtime raises many kinds; the graph may hold operators of somebody's own
            reason = str(error).strip().splitlines()[0]
            notes.append(f"value ranges were not measured because ONNX Runtime cannot run the graph: {reason}")
    model = raise_opset(graph_of(source, files), precision)
    typing = insert_casts(model, precision, spec, keep_fp32=keep_fp32, ranges=ranges)
    try:
        check_model(model)
    except Exception as error:
        raise GraphError(
            f"The graph in {precision.name} is not valid: {error}",
            hint="Keep that node in float32 (--keep-fp32), or choose another --precision.",
        ) from error
    write_model(model, destination)
    files.hold(destination, model)
    if typing.flushed:
        notes.append(f"{typing.flushed} weights are too small for {precision.name} and became zero")
    return typing, notes


def _require_computed_type(precision: Precision) -> None:
    """ONNX only moves and casts 8-bit floats: a graph with casts to them would stay float32 under another name."""
    constraints = onnx.defs.get_schema("MatMul").type_constraints
    if any(f"tensor({precision.onnx_type})" in constraint.allowed_type_strs for constraint in constraints):
        return
    raise PluginError(
        f"The precision {precision.name!r} of {PRECISIONS.distribution(precision.name)} cannot be written with casts: ONNX "
        f"operators do not compute in {precision.onnx_type}, so the graph would stay in float32.",
        hint=f"Declare form='qdq' with quantized_type={precision.onnx_type!r} and implement the hook quantize, or implement "
        "reduce_precision.",
    )


def write_emulated(reduced: Path, destination: Path, files: OnnxFiles) -> None:
    """The float32 graph that rounds as the reduced one does: what link 3 runs, since ONNX Runtime computes half in float32."""
    model = graph_of(reduced, files)
    emulate_low_precision(model)
    check_model(model)
    write_model(model, destination)
