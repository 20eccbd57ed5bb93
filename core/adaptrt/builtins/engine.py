"""Defaults of the hooks that give the graph its precision and build the engine."""

from __future__ import annotations

from pathlib import Path

from adaptrt.errors import DependencyError
from adaptrt.hookspecs import hookimpl
from adaptrt.request import Conversion
from adaptrt.specs import ModelSpec
from adaptrt.trt.availability import why_no_engine
from adaptrt.trt.build import BuildWatcher, Configure
from adaptrt.trt.build import build_engine as build
from adaptrt.trt.log import LogNote, Severity
from adaptrt.trt.onnx_file import read_onnx
from adaptrt.trt.versions import target_of, wants_typed_graph

_TYPES = {"fp16": "float16", "bf16": "bfloat16"}
_LEVELS: tuple[Severity, ...] = ("warning", "info", "verbose")  # by the number of -v


@hookimpl(trylast=True)
def typed_onnx(ctx: Conversion, onnx_path: Path, spec: ModelSpec) -> Path:
    request = ctx.request
    precision = request.precision
    if precision not in ("fp16", "bf16") or not wants_typed_graph(request):
        return onnx_path
    if _TYPES[precision] in read_onnx(onnx_path).weight_types:
        return onnx_path  # somebody gave it its types before
    try:
        from adaptrt.graph.typed import write_typed
        from adaptrt.vision.examples import example_arrays
    except ImportError as error:
        raise DependencyError(
            f"A graph in {precision} cannot be written here: {error}.", hint="Install it: pip install 'adaptrt[export]'"
        ) from error

    sample = ctx.samples[0] if ctx.samples else None
    if sample is None:  # nothing is compared
        shapes = {
            tensor.name: tuple(dim.min if axis == 0 else dim.opt for axis, dim in enumerate(tensor.profiles[0]))
            for tensor in spec.inputs
        }
        sample = example_arrays(spec, shapes, request.seed, request.image)
    path = ctx.workdir / f"model.{precision}.onnx"
    typing, notes = write_typed(onnx_path, path, precision, spec, keep_fp32=request.keep_fp32, samples=[sample])
    ctx.notes.extend([f"{precision}: {typing.note}", *notes])
    return path


@hookimpl(trylast=True)
def build_engine(ctx: Conversion, onnx_path: Path, spec: ModelSpec) -> Path | None:
    """The plan, with its manifest beside it."""
    request = ctx.request
    if why_no_engine(target_of(request), request.build.device) is not None:
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
    ctx.notes.append(f"precision receipt: {manifest.receipt.summary}; {manifest.receipt.evidence}")
    if manifest.receipt.note:
        ctx.warn(f"Precision: {manifest.receipt.note}.")
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
