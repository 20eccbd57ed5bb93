"""Links 3 and 4 and the manifest: the reduced-precision graph and the engine against the reference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from adaptrt.backends.tensorrt.generations import target_of
from adaptrt.backends.tensorrt.manifest import Manifest, find_manifest, manifest_path
from adaptrt.backends.tensorrt.rebuild import rebuild_command
from adaptrt.errors import DependencyError
from adaptrt.pipeline import links
from adaptrt.pipeline.samples import Sample
from adaptrt.report import Check, EngineRecord, Report
from adaptrt.request import Request
from adaptrt.specs import ModelSpec, precision_named

if TYPE_CHECKING:
    from adaptrt.backends.onnxruntime.runner import OnnxRuntimeRunner
    from adaptrt.backends.tensorrt.runtime import TensorRTRunner


def why_float32(request: Request) -> str:
    """Why there is no reduced-precision graph to compare."""
    target = target_of(request)
    if request.precision in ("fp16", "bf16") and not target.strongly_typed:
        return f"the graph stays float32: {target.title} takes {request.precision} as a builder flag"
    if request.precision == "int8":
        return "the graph keeps its types: int8 comes from its own Q/DQ nodes"
    if request.precision in ("fp16", "bf16"):
        return f"the graph holds {request.precision} already"
    return "the graph stays float32"


def check_reduced(
    reduced: Path, request: Request, samples: Sequence[Sample], spec: ModelSpec, workdir: Path, jumps: list[Check]
) -> list[Check]:
    """Link 3: every sample through the float32 form that rounds as the reduced-precision graph does, one through the file itself.

    ONNX Runtime computes half precision in float32 between its casts on a CPU, and bfloat16 not at all. ``jumps`` gets
    those of samples that are left out.
    """
    from adaptrt.backends.onnxruntime.runner import OnnxRuntimeRunner
    from adaptrt.graph.reduced_precision import write_emulated

    rounded = workdir / "rounded.onnx"
    write_emulated(reduced, rounded)
    runner = OnnxRuntimeRunner(rounded, custom_ops=request.ort_custom_ops, optimize=False)
    checks, _ = links.compare_samples(runner.run, samples, spec, precision_named(request.precision), jumps)
    runner.close()
    rounded.unlink()
    if request.precision == "fp16":
        runner = open_reduced(reduced, request, workdir)
        own, _ = links.compare_samples(runner.run, samples[:1], spec, precision_named(request.precision), [])
        for check in own:
            check.name += " (the file in ONNX Runtime)"
        checks += own
        runner.close()
    return checks


def open_reduced(reduced: Path, request: Request, workdir: Path) -> OnnxRuntimeRunner:
    """The reduced-precision graph, ready to run on a CPU: the file itself, or, in bfloat16, the float32 form that rounds as it does."""
    from adaptrt.backends.onnxruntime.runner import OnnxRuntimeRunner
    from adaptrt.graph.reduced_precision import write_emulated

    if request.precision == "fp16":
        return OnnxRuntimeRunner(reduced, custom_ops=request.ort_custom_ops)
    rounded = workdir / "rounded.onnx"
    write_emulated(reduced, rounded)
    return OnnxRuntimeRunner(rounded, custom_ops=request.ort_custom_ops, optimize=False)


def open_engine(engine: Path, request: Request) -> tuple[TensorRTRunner | None, str]:
    """The engine, ready to run; else why it cannot run here. One that we built ourselves may hold host code."""
    if request.build.strip_weights:
        return None, "the plan holds no weights (--strip-weights)"
    from adaptrt.backends.tensorrt.runtime import TensorRTRunner

    try:
        runner = TensorRTRunner(
            engine, device=request.build.device, allow_host_code=True, plugin_libs=request.build.plugin_libs
        )
    except DependencyError as error:
        return None, f"it cannot run here: {error.message}"
    return runner, ""


def complete_manifest(engine: Path, onnx: Path, float32: Path, report: Report) -> Manifest | None:
    """Add to the manifest beside the plan what only the conversion knows; ``None`` where a plugin built without one.

    ``onnx`` is the final name of the file that the engine was built from, ``float32`` that of the float32 graph.
    """
    manifest = find_manifest(engine)
    if manifest is None:
        return None
    manifest.onnx = onnx.name
    manifest.rebuild = rebuild_command(
        float32.name, manifest.spec, manifest.precision, manifest.keep_fp32, manifest.options
    )
    manifest.adapter, manifest.source, manifest.command = report.adapter, report.source, report.command
    manifest.plugins = dict(report.plugins)
    manifest.patches, manifest.passes = list(report.patches), list(report.passes)
    manifest.checks = list(report.links)
    manifest_path(engine).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def engine_record(manifest: Manifest) -> EngineRecord:
    precision_report = manifest.precision_report
    return EngineRecord(
        tensorrt=manifest.tensorrt,
        gpu=manifest.gpu,
        capability=manifest.capability,
        precision=manifest.precision,
        layers=precision_report.layers,
        weight_bytes=precision_report.weight_bytes,
        opaque=len(precision_report.opaque),
        opaque_share=precision_report.opaque_share,
        plan_bytes=precision_report.plan_bytes,
        plan_share=precision_report.plan_share,
        evidence=precision_report.evidence,
        note=precision_report.note,
        build_seconds=manifest.build_seconds,
        device_memory=manifest.device_memory,
        messages=[str(note) for note in manifest.messages],
    )
