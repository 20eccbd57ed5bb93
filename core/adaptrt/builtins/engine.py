"""Defaults of the hooks that give the graph its precision and build the engine."""

from __future__ import annotations

from pathlib import Path

from adaptrt.backends.tensorrt.availability import engine_unavailable_reason
from adaptrt.backends.tensorrt.build.engine import BuildWatcher, Configure
from adaptrt.backends.tensorrt.build.engine import build_engine as build
from adaptrt.backends.tensorrt.build.log import LogNote, Severity
from adaptrt.backends.tensorrt.generations import target_of, wants_reduced_graph
from adaptrt.errors import DependencyError
from adaptrt.hookspecs import hookimpl
from adaptrt.onnxfile.reader import read_onnx
from adaptrt.request import Conversion
from adaptrt.specs import ModelSpec, precision_named

_LEVELS: tuple[Severity, ...] = ("warning", "info", "verbose")  # by the number of -v


@hookimpl(trylast=True)
def reduce_precision(ctx: Conversion, onnx_path: Path, spec: ModelSpec) -> Path:
    request = ctx.request
    precision = precision_named(request.precision)
    if precision.form != "cast" or not wants_reduced_graph(request):
        return onnx_path
    if precision.onnx_type in read_onnx(onnx_path).weight_types:
        return onnx_path  # somebody gave it its types before
    try:
        from adaptrt.graph.reduced_precision import write_reduced
        from adaptrt.vision.examples import example_arrays
    except ImportError as error:
        raise DependencyError(
            f"A graph in {precision.name} cannot be written here: {error}.",
            hint="Install it: pip install 'adaptrt[export]'",
        ) from error

    sample = ctx.samples[0] if ctx.samples else None
    if sample is None:  # nothing is compared
        shapes = {
            tensor.name: tuple(dim.min if axis == 0 else dim.opt for axis, dim in enumerate(tensor.profiles[0]))
            for tensor in spec.inputs
        }
        sample = example_arrays(spec, shapes, request.seed, request.image)
    path = ctx.workdir / f"model.{precision.name}.onnx"
    typing, notes = write_reduced(onnx_path, path, precision, spec, keep_fp32=request.keep_fp32, samples=[sample])
    ctx.notes.extend([f"{precision.name}: {typing.note}", *notes])
    return path


@hookimpl(trylast=True)
def build_engine(ctx: Conversion, onnx_path: Path, spec: ModelSpec) -> Path | None:
    """The plan, with its manifest beside it."""
    request = ctx.request
    if engine_unavailable_reason(target_of(request), request.build.device) is not None:
        return None
    plan = ctx.workdir / "model.engine"
    manifest, cached = build(
        onnx_path,
        spec,
        plan,
        precision=request.precision,
        keep_fp32=request.keep_fp32,
        options=request.build,
        watcher=_Told(ctx),
        configure=_configure(ctx),
        cache=request.cache,
    )
    if cached:
        ctx.notes.append(f"the engine comes from the cache: built {manifest.created}")
    ctx.notes.append(f"precision report: {manifest.precision_report.summary}; {manifest.precision_report.evidence}")
    if manifest.precision_report.note:
        ctx.warn(f"Precision: {manifest.precision_report.note}.")
    return plan


def _configure(ctx: Conversion) -> Configure | None:
    """Extensions configure the builder in the build process, where their session is opened again from this file."""
    if not ctx.builder_plugins:
        return None
    import pickle
    from dataclasses import replace

    from adaptrt.request import silent

    context = ctx.workdir / "build-context.pickle"
    context.write_bytes(pickle.dumps(replace(ctx, warn=silent, tell=silent, progress=silent, samples=())))
    return Configure("adaptrt.pipeline.configure:configure_builder", str(context))


class _Told(BuildWatcher):
    """Passes on how far the build is, and what TensorRT had to say."""

    def __init__(self, ctx: Conversion) -> None:
        super().__init__(log_level=_LEVELS[min(ctx.request.verbose, 2)])
        self._ctx = ctx

    def progress(self, fraction: float | None, seconds: float, remaining: float | None, text: str) -> None:  # noqa: ARG002
        left = f"about {remaining:.0f} s left" if remaining is not None else f"{seconds:.0f} s so far"
        if fraction is None:
            self._ctx.progress(0, 0, left)
        else:
            self._ctx.progress(round(fraction * 1000), 1000, left)

    def message(self, severity: Severity, text: str) -> None:
        if self._ctx.request.verbose:
            self._ctx.tell(f"TensorRT {severity}: {text}")

    def note(self, note: LogNote) -> None:
        self._ctx.warn(str(note))
