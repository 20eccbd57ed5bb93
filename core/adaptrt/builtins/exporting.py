"""The default export: the chosen exporter; with ``auto``, also the other one if the first fails."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from torch import nn

from adaptrt.backends.choice import target_of
from adaptrt.backends.onnxruntime.exported import require_valid
from adaptrt.errors import ExportError, UsageError
from adaptrt.export.choices import choose_exporter, choose_opset
from adaptrt.export.eager import EagerRunner
from adaptrt.export.exercise import exercise
from adaptrt.export.torch_onnx import export_onnx, takes_dynamo
from adaptrt.export.tracing_hazards import HazardRecorder
from adaptrt.graph.lint.source_locations import at
from adaptrt.graph.model_file import graph_of, require_symbolic_axes
from adaptrt.onnxfile.files import OnnxFiles
from adaptrt.request import Conversion, Exporter
from adaptrt.specs import ModelSpec


def export(ctx: Conversion, model: nn.Module, inputs: Mapping[str, torch.Tensor], spec: ModelSpec) -> Path:
    """A valid graph with the axes of the spec. Tracing hazards become findings, with whether the samples exercise them."""
    path = ctx.workdir / "exported.onnx"
    plan = _exporters(ctx, model, spec)
    tried: list[Exporter] = []
    failures: list[ExportError] = []
    for exporter, opset in plan:
        tried.append(exporter)
        try:
            untried = [name for name, _ in plan if name not in tried] if ctx.request.exporter == "auto" else None
            # with auto the other one is tried here, and no hint has to name it
            known: list[Exporter] = ["dynamo", "torchscript"] if untried is not None else tried
            hazards = _attempt(ctx, model, inputs, spec, path, exporter, opset, known, last=not untried)
        except ExportError as error:
            failures.append(error)
            ctx.failed_exporters.append(exporter)
            if untried:
                ctx.warn(f"{error.message} Exporting with {untried[0]} instead.")
            continue
        exercise(hazards, EagerRunner(model).run, ctx.samples)
        ctx.findings.extend(hazards.findings(at))
        return path
    raise _failure(failures)


def _exporters(ctx: Conversion, model: nn.Module, spec: ModelSpec) -> list[tuple[Exporter, int]]:
    """What to try, in order, with the opset of each."""
    request, target = ctx.request, target_of(ctx.request)
    first = choose_exporter(request.exporter, spec, target)
    if request.exporter == "auto" and first == "dynamo" and _unrolls(model, spec):
        first = "torchscript"
    order = [(first, choose_opset(request.opset, first, target))]
    other: Exporter = "dynamo" if first == "torchscript" else "torchscript"
    if request.exporter == "auto" and (other == "torchscript" or takes_dynamo(model)):
        with suppress(UsageError):  # it does not write the opset that was asked for
            order.append((other, choose_opset(request.opset, other, target)))
    return order


def _unrolls(model: nn.Module, spec: ModelSpec) -> bool:
    """Whether dynamo would unroll a recurrent layer over an axis of unknown length, which it rejects after minutes."""
    dynamic = any(dim.dynamic for tensor in spec.inputs for dim in tensor.dims[1:])
    return dynamic and any(isinstance(module, nn.RNNBase) for module in model.modules())


def _attempt(
    ctx: Conversion,
    model: nn.Module,
    inputs: Mapping[str, torch.Tensor],
    spec: ModelSpec,
    path: Path,
    exporter: Exporter,
    opset: int,
    tried: list[Exporter],
    *,
    last: bool,
) -> HazardRecorder:
    """Export and check the graph; after the ``last`` attempt the hazards of a failed one say why."""
    hazards = export_onnx(model, inputs, spec, path, exporter=exporter, opset=opset, tried=tried)
    try:
        graph = graph_of(path, ctx.onnx or OnnxFiles())
        require_valid(graph, path, ctx.request, target_of(ctx.request))
        require_symbolic_axes(graph, spec)
    except ExportError as error:
        if last:
            ctx.findings.extend(hazards.findings(at))
        other: Exporter = "dynamo" if exporter == "torchscript" else "torchscript"
        if other not in tried and (other == "torchscript" or takes_dynamo(model)):
            error.hint = f"{error.hint or ''} Alternatively, try --exporter {other}.".strip()
        raise
    return hazards


def _failure(failures: list[ExportError]) -> ExportError:
    """The first failure, from the preferred exporter, with the messages of the others appended."""
    first, *others = failures
    if not others:
        return first
    said = " ".join(f"The other exporter also fails: {other.message}" for other in others)
    hint = next((one.hint for one in failures if one.hint and not one.general_hint), first.hint)
    return ExportError(f"{first.message} {said}", hint=hint)
