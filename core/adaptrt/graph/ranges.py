"""Measure the largest magnitude of every value in a graph with one run of ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import onnx_ir as ir

if TYPE_CHECKING:
    from numpy.typing import NDArray


def measure_ranges(graph: ir.Model, samples: Sequence[Mapping[str, NDArray[Any]]], workdir: Path) -> dict[str, float]:
    """The largest magnitude of each float32 value over the samples, by name.

    The graph is extended by the maximum of each value, so that the values themselves need not be kept.
    """
    import onnxruntime as ort

    model = ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(graph)))
    names = _add_maxima(model)
    extended = workdir / "ranges.onnx"
    onnx.save(ir.to_proto(model), str(extended))
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # fusions would hide values
    session = ort.InferenceSession(str(extended), options, providers=["CPUExecutionProvider"])
    largest: dict[str, float] = {}
    for sample in samples:
        results = session.run(list(names), dict(sample))
        for output, result in zip(names, results, strict=True):
            value = float(result) if result.size else 0.0
            largest[names[output]] = max(largest.get(names[output], 0.0), value)
    extended.unlink()
    return largest


def _add_maxima(model: ir.Model) -> dict[str, str]:
    """Outputs that give the maxima, mapped to the values they are of."""
    opset = model.graph.opset_imports.get("", 18)
    names: dict[str, str] = {}
    for node in list(model.graph):
        for value in node.outputs:
            empty = value.shape is not None and 0 in value.shape
            if value.dtype != ir.DataType.FLOAT or not value.name or empty:
                continue
            magnitude = ir.node("Abs", [value], version=opset)
            largest = ir.node("ReduceMax", [magnitude.outputs[0]], {"keepdims": 0}, version=opset)
            magnitude.outputs[0].name = f"adaptrt_abs_{len(names)}"
            largest.outputs[0].name = f"adaptrt_max_{len(names)}"
            largest.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
            model.graph.extend([magnitude, largest])
            model.graph.outputs.append(largest.outputs[0])
            names[f"adaptrt_max_{len(names)}"] = value.name
    return names
