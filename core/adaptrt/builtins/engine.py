"""Defaults of the hooks that give the graph its precision and build from it."""

from __future__ import annotations

from pathlib import Path

from adaptrt.backends.choice import target_for, target_of
from adaptrt.errors import DependencyError, UsageError
from adaptrt.hookspecs import hookimpl
from adaptrt.onnxfile.files import OnnxFiles
from adaptrt.onnxfile.node_rules import require_quantized
from adaptrt.request import Conversion
from adaptrt.specs import ModelSpec, Precision, precision_named
from adaptrt.specs.backend_calls import build_file
from adaptrt.specs.backends import Backend, BackendRequest, Built


@hookimpl(trylast=True)
def quantize(ctx: Conversion, onnx_path: Path, spec: ModelSpec, precision: Precision) -> Path:
    """The graph with Q/DQ nodes calibrated on ``--calib``; without it, the unchanged graph, if it has such nodes."""
    request = ctx.request
    if ctx.calibration is None or request.calibration is None:
        require_quantized(_files(ctx).outline(onnx_path), precision)
        return onnx_path
    if not precision.quantized_by_core:
        raise UsageError(
            f"adaptrt quantizes graphs to int8, and {precision.name} is {precision.quantized_type}.",
            hint="Install a plugin whose quantize hook writes it, or pass a graph with such Q/DQ nodes to adaptrt build, without --calib.",
        )
    try:
        from adaptrt.quantization import LayerPatterns, calibrate, write_quantized
    except ImportError as error:
        raise DependencyError(
            f"Quantizing a graph requires packages that are not installed: {error}.",
            hint="Install it: pip install 'adaptrt[export]'",
        ) from error
    path = ctx.workdir / f"model.{precision.name}.onnx"
    calibrated = calibrate(
        onnx_path,
        spec,
        ctx.calibration,
        path.parent,
        method=request.calibration.method,
        cache=request.calibration.cache,
        patterns=LayerPatterns(keep_fp32=ctx.keep_fp32, keep_fp16=ctx.keep_fp16, also=request.quantize_also),
        custom_ops=request.ort_custom_ops,
        files=ctx.onnx,
        progress=ctx.progress,
    )
    write_quantized(calibrated, path, ctx.onnx)
    for warning in calibrated.found.warnings:
        ctx.warn(warning)
    ctx.notes.extend(calibrated.found.notes)
    return path


@hookimpl(trylast=True)
def reduce_precision(ctx: Conversion, onnx_path: Path, spec: ModelSpec, precision: Precision) -> Path:
    """The graph with casts, where a backend takes the precision from the graph. What int8 leaves in float becomes fp16."""
    request = ctx.request
    if precision.form == "qdq":
        if request.calibration is None or not (precision.rest and target_of(request).strongly_typed):
            return onnx_path  # its own types, or a builder flag
        precision, name = precision_named(precision.rest), f"{precision.name}.rest"
    elif ctx.reduced_graph:
        name = precision.name
    else:
        return onnx_path
    if precision.onnx_type in _files(ctx).outline(onnx_path).weight_types:
        return onnx_path  # already in this precision
    try:
        from adaptrt.graph.reduced_precision import write_reduced
        from adaptrt.vision.examples import example_arrays
    except ImportError as error:
        raise DependencyError(
            f"Writing a graph in {precision.name} requires packages that are not installed: {error}.",
            hint="Install it: pip install 'adaptrt[export]'",
        ) from error

    sample = ctx.calibration.read(0) if ctx.calibration else ctx.samples[0] if ctx.samples else None
    if sample is None:  # no samples: nothing will be compared
        shapes = {
            tensor.name: tuple(dim.min if axis == 0 else dim.opt for axis, dim in enumerate(tensor.profiles[0]))
            for tensor in spec.inputs
        }
        sample = example_arrays(spec, shapes, request.seed, request.image)
    path = ctx.workdir / f"model.{name}.onnx"
    typing, notes = write_reduced(
        onnx_path, path, precision, spec, _files(ctx), keep_fp32=ctx.keep_fp32, samples=[sample]
    )
    ctx.notes.extend([f"{precision.name}: {typing.note}", *notes])
    return path


@hookimpl(trylast=True)
def build_engine(
    ctx: Conversion, onnx_path: Path, spec: ModelSpec, precision: Precision, backend: Backend
) -> Built | None:
    """What the backend builds, if it can build here."""
    request = ctx.request
    target = target_for(backend, target_of(request))
    if backend.unavailable(target, request.build.device) is not None:
        return None
    built = build_file(
        backend,
        BackendRequest(
            onnx_path=onnx_path,
            output=ctx.workdir / f"model{backend.suffixes[0]}",
            spec=spec,
            precision=precision,
            target=target,
            keep_fp32=ctx.keep_fp32,
            options=request.build,
            cache=request.cache,
            command=request.command,
            configure=_configure(ctx),
            verbose=request.verbose,
            onnx=ctx.onnx,
            progress=ctx.progress,
            warn=ctx.warn,
            detail=ctx.tell,
        ),
    )
    ctx.notes.extend(built.notes)
    return built


def _files(ctx: Conversion) -> OnnxFiles:
    return ctx.onnx or OnnxFiles()


def _configure(ctx: Conversion) -> tuple[str, str] | None:
    """Extensions configure the builder in the build process, where their session is opened again from this file."""
    if not ctx.builder_plugins:
        return None
    import pickle
    from dataclasses import replace

    from adaptrt.request import silent

    context = ctx.workdir / "build-context.pickle"
    context.write_bytes(pickle.dumps(replace(ctx, warn=silent, tell=silent, progress=silent, samples=(), onnx=None)))
    return "adaptrt.pipeline.configure:configure_builder", str(context)
