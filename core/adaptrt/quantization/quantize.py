"""A float32 ONNX file with Q/DQ nodes: placed, calibrated, checked and written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes import common

from adaptrt.errors import GraphError, UsageError, in_shell
from adaptrt.graph.model_file import check_model, graph_of, write_model
from adaptrt.onnxfile.files import OnnxFiles
from adaptrt.quantities import listed
from adaptrt.quantization.calibration_cache import Calibration, CalibrationKey, read_calibration, write_calibration
from adaptrt.quantization.placement import NO_PATTERNS, LayerPatterns, Placement, place
from adaptrt.quantization.rewrite import insert_qdq
from adaptrt.quantization.statistics import Activations, Range
from adaptrt.quantization.thresholds import entropy_threshold, percentile_threshold
from adaptrt.request import silent
from adaptrt.specs import ModelSpec
from adaptrt.specs.calibration import CalibrationData, CalibrationMethod

FEWEST_IMAGES = 64  # fewer are a warning: benchmarks/quantization measures with as many
# activations that exceed their range by this factor, and the share of them that is a warning
_BEYOND, _SHARE = 2.0, 0.1

Progress = Callable[[int, int, str], None]


@dataclass
class Quantized:
    """What became of a graph: notes for the report, warnings for the user."""

    placement: Placement
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass
class Calibrated:
    """A float32 graph with its layers to quantize, and the threshold of each activation by name."""

    model: ir.Model
    found: Quantized
    thresholds: Mapping[str, float]


def calibrate(
    source: Path,
    spec: ModelSpec | None,
    data: CalibrationData,
    workdir: Path,
    *,
    method: CalibrationMethod = "minmax",
    cache: Path | None = None,
    patterns: LayerPatterns = NO_PATTERNS,
    custom_ops: Sequence[Path] = (),
    files: OnnxFiles | None = None,
    progress: Progress = silent,
) -> Calibrated:
    """Choose the layers of a graph, and measure the ranges of what they read.

    ``cache`` is read if it was written for the same graph, images and method, and written otherwise.
    """
    model, graph_hash, placement = placed(source, spec, patterns, files)
    found = Quantized(placement)
    activations = Activations(model, placement.activations, workdir, custom_ops)
    key = CalibrationKey(graph_hash, data.digest, method)
    calibration = _from_cache(cache, key, found)
    if calibration is None:
        calibration = _measure(activations, data, key, progress)
        if cache is not None:
            write_calibration(cache, calibration, workdir)
    _drop_constants(calibration.ranges, found)
    _warn_of_data(activations, calibration, data, found)
    found.notes.append(f"int8: {placement.note}; {method} over {data.title}")
    return Calibrated(model, found, calibration.thresholds)


def placed(
    source: Path,
    spec: ModelSpec | None,
    patterns: LayerPatterns,
    files: OnnxFiles | None = None,
) -> tuple[ir.Model, str, Placement]:
    """A float32 graph, its hash, and its layers to quantize; a ``GraphError`` if it has none."""
    model = graph_of(source, files or OnnxFiles())
    require_float(model, source.name)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    graph_hash = hash_of(model)
    common.ShapeInferencePass()(model)
    placement = place(model, spec, patterns)
    if not placement.layers:
        raise GraphError(
            f"{source.name} has no layer to compute in int8 ({placement.note}).",
            hint="Convolutions and matrix products with constant weights are quantized, except those of images and the last "
            "ones before an output. Use --precision fp16; or name layers: --quantize-also Conv",
        )
    return model, graph_hash, placement


def write_quantized(calibrated: Calibrated, destination: Path, files: OnnxFiles | None = None) -> None:
    """Write the graph with Q/DQ nodes around the inputs of its layers; opset, metadata and names stay."""
    model = calibrated.model
    insert_qdq(model, calibrated.found.placement, calibrated.thresholds)
    try:
        check_model(model)
    except Exception as error:
        raise GraphError(
            f"The int8 graph is invalid: {error}", hint="Keep that node in float (--keep-fp32)."
        ) from error
    write_model(model, destination)
    (files or OnnxFiles()).hold(destination, model)


def require_float(model: ir.Model, file: str) -> None:
    """Reject a graph that is quantized already, or whose opset has no scale for each channel."""
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.graph):
        raise UsageError(
            f"{file} already has QuantizeLinear and DequantizeLinear nodes.",
            hint=f"Build it as it is: adaptrt build {in_shell(file)} --int8. To quantize with other ranges, start from the float32 file.",
        )
    opset = model.graph.opset_imports.get("", 0)
    if opset < 13:
        raise GraphError(
            f"{file} has opset {opset}; per-channel scales require opset 13 or later.",
            hint="Export the model again with opset 17.",
        )


def hash_of(model: ir.Model) -> str:
    """A hash of the graph alone: metadata (a date, say) does not change what it computes."""
    proto = ir.to_proto(model)
    return hashlib.sha256(proto.graph.SerializeToString(deterministic=True)).hexdigest()


def _from_cache(cache: Path | None, key: CalibrationKey, found: Quantized) -> Calibration | None:
    calibration = read_calibration(cache) if cache is not None else None
    if calibration is None:
        return None
    differences = calibration.key.differences(key)
    missing = [name for name in found.placement.activations if name not in calibration.thresholds]
    if differences or missing:
        other = ", ".join(differences) or "layers"
        found.warnings.append(
            f"The calibration cache {cache} is stale (different {other}): calibrated again and replaced the file."
        )
        return None
    found.notes.append(f"int8: ranges from the calibration cache {cache} ({calibration.images} images)")
    return calibration


def _measure(activations: Activations, data: CalibrationData, key: CalibrationKey, progress: Progress) -> Calibration:
    passes = 1 if key.method == "minmax" else 2
    total = passes * data.batches

    def done(before: int) -> Callable[[int, int], None]:
        return lambda count, _: progress(before + count, total, f"calibrate on {data.title}")

    ranges = activations.ranges(data, done(0))
    thresholds = {name: one.largest for name, one in ranges.items()}
    if key.method != "minmax":
        compute = entropy_threshold if key.method == "entropy" else percentile_threshold
        counts = activations.histograms(data, ranges, done(data.batches))
        thresholds = {name: compute(counts[name], one.largest) for name, one in ranges.items()}
    return Calibration(key, ranges, thresholds, data.count)


def _drop_constants(ranges: Mapping[str, Range], found: Quantized) -> None:
    """The range of an activation that never varies is unknown: its layers stay float."""
    read = {str(value.name) for layer in found.placement.layers for _, value in layer.activations}
    constant = [
        name for name in found.placement.activations if name in read and not ranges[name].low < ranges[name].high
    ]
    for layer in list(found.placement.layers):
        if any(value.name in constant for _, value in layer.activations):
            found.placement.keep(layer, "with a constant input")
    if constant:
        found.warnings.append(
            f"{len(constant)} activations have the same value on all calibration images ({listed(constant)}): "
            "their layers stay float. Check that the images are representative."
        )


def _warn_of_data(activations: Activations, calibration: Calibration, data: CalibrationData, found: Quantized) -> None:
    if data.count < FEWEST_IMAGES:
        found.warnings.append(
            f"int8 is calibrated on {data.count} images; fewer than {FEWEST_IMAGES} may miss values that occur in use."
        )
    if not data.probes:
        return
    seen = activations.ranges(data.probed())
    names = [name for name in seen if calibration.ranges[name].largest > 0]
    beyond = [name for name in names if seen[name].largest > _BEYOND * calibration.ranges[name].largest]
    if len(beyond) > _SHARE * len(names):
        found.warnings.append(
            f"{len(beyond)} of {len(names)} activations exceed their calibrated range more than {_BEYOND:g} times on other "
            f"images ({beyond[0]} ...), and saturate there. The calibration images look different from those in use."
        )
