"""``torch.onnx.export`` with both of its exporters."""

from __future__ import annotations

import linecache
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import nn

from adaptrt.errors import AdaptrtError, ExportError, disk_error
from adaptrt.export.context import export_context
from adaptrt.export.device_guard import keep_device_guard
from adaptrt.export.frozen_axes import noting_frozen_axes
from adaptrt.export.quiet import quiet
from adaptrt.export.tracing_hazards import HazardRecorder, failing_line, recording
from adaptrt.export.wrapper import FlatModel
from adaptrt.request import Exporter
from adaptrt.specs import ModelSpec

# metadata key, present until the file is rewritten; a graph without it comes from TorchScript
EXPORTER_KEY = "adaptrt.exporter"
MAX_CAUSE = 300  # characters of torch's message


def export_onnx(
    model: nn.Module,
    inputs: Mapping[str, torch.Tensor],
    spec: ModelSpec,
    path: Path,
    *,
    exporter: Exporter,
    opset: int,
    tried: Collection[Exporter] = (),
) -> HazardRecorder:
    """Export ``model`` to ``path``; exactly the dynamic axes of the spec are symbolic.

    Returns the locations at which tracing converted tensors to Python numbers. The hint of an ``ExportError`` does not suggest an exporter in ``tried``.
    """
    flat = FlatModel(model, len(spec.outputs) or None).eval()
    export = _export_dynamo if exporter == "dynamo" else _export_torchscript
    hazards: HazardRecorder | None = None
    try:
        watched = recording(spec, tuple(inputs.values()), traced=exporter == "torchscript")
        with torch.no_grad(), quiet(), export_context(), watched as hazards, noting_frozen_axes(hazards):
            if export(flat, inputs, spec, path, opset):
                hazards.not_frozen()
    except Exception as error:
        own = _raised_by_us(error)
        if own is not None:
            raise own from error
        name: Exporter = "torchscript" if exporter == "dynamo" else "dynamo"
        other = f"Try --exporter {name}; " if name not in tried else ""
        if not takes_dynamo(model):
            other = "dynamo does not accept TorchScript: export the original Python module; "
        line = failing_line(error)
        where = f"{Path(line[0]).name}:{line[1]} ({linecache.getline(*line).strip()}): " if line is not None else ""
        if line is None and hazards is not None and hazards.hazards:
            where = f"{', '.join(hazards.lines()[:3])}: "
        raise ExportError(
            f"torch.onnx.export ({exporter}, opset {opset}) failed: {where}{_cause(error)}",
            hint=f"{_advice(error)}{other}Use --debug to show the full traceback.",
            general_hint=not (_advice(error) or other),
        ) from error
    return hazards


def _export_torchscript(
    model: nn.Module, inputs: Mapping[str, torch.Tensor], spec: ModelSpec, path: Path, opset: int
) -> bool:
    """Returns whether every dynamic axis is symbolic in the graph: always true here, even if later nodes are specialized."""
    dynamic_axes = {
        tensor.name: {axis: tensor.axis_name(axis) for axis, dim in enumerate(tensor.dims) if dim.dynamic}
        for tensor in spec.inputs
    }
    if not takes_dynamo(model):
        # a scripted module keeps its own loops and branches, but cannot be called within this exporter's trace
        model = torch.jit.trace(model, tuple(inputs.values()), check_trace=False)  # type: ignore[no-untyped-call]
    batch = next((axes[0] for axes in dynamic_axes.values() if 0 in axes), None)
    if batch is not None:  # else the exporter invents a name for the outputs' batch axis
        dynamic_axes |= {output.name: {0: batch} for output in spec.outputs}
    torch.onnx.export(
        model,
        tuple(inputs.values()),
        str(path),
        input_names=list(inputs),
        output_names=[output.name for output in spec.outputs],
        dynamic_axes={name: axes for name, axes in dynamic_axes.items() if axes},
        opset_version=opset,
        do_constant_folding=True,
        dynamo=False,
        verbose=True,  # keeps the model's source lines in the nodes; the printed output is discarded
    )
    return True


def _export_dynamo(
    model: nn.Module, inputs: Mapping[str, torch.Tensor], spec: ModelSpec, path: Path, opset: int
) -> bool:
    """Returns whether every dynamic axis is symbolic in the graph."""
    keep_device_guard()
    symbols: dict[str, torch.export.Dim] = {}
    shapes = []
    for tensor in spec.inputs:
        axes: dict[int, torch.export.Dim] = {}
        for axis, dim in enumerate(tensor.dims):
            if dim.dynamic:
                name = tensor.axis_name(axis)
                axes[axis] = symbols.setdefault(
                    name,
                    torch.export.Dim.DYNAMIC
                    if _strided(spec, tensor.name, axis)
                    else torch.export.Dim(name, min=dim.min, max=dim.max),
                )
        shapes.append(axes)
    program = torch.onnx.export(
        model,
        tuple(inputs.values()),
        input_names=list(inputs),
        output_names=[output.name for output in spec.outputs],
        dynamic_shapes=(tuple(shapes),),
        opset_version=opset,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props[EXPORTER_KEY] = "dynamo"
    program.save(str(path), external_data=False)
    written = {value.name: value.shape or () for value in program.model.graph.inputs}
    return not any(
        isinstance(size, int) and dim.dynamic
        for tensor in spec.inputs
        for size, dim in zip(written.get(tensor.name, ()), tensor.dims, strict=False)
    )


def _strided(spec: ModelSpec, name: str, axis: int) -> bool:
    """Whether this is a height or width that is a multiple of the stride: torch.export must infer that itself."""
    return spec.image is not None and spec.image.stride > 1 and name == spec.image.input and axis >= 2


def takes_dynamo(model: nn.Module) -> bool:
    """Whether the dynamo exporter supports it: no part is TorchScript."""
    return not any(isinstance(module, torch.jit.ScriptModule) for module in model.modules())


def _raised_by_us(error: BaseException) -> BaseException | None:
    """A full disk, or an ``AdaptrtError``; exporters wrap both."""
    full = disk_error(error)
    found: BaseException | None = error
    while full is None and found is not None and not isinstance(found, AdaptrtError):
        found = found.__cause__ or found.__context__
    return full or found


def _cause(error: BaseException) -> str:
    """The cause in one line: torch.onnx wraps the error in advice about its own steps."""
    while error.__cause__ is not None and type(error).__module__.startswith("torch.onnx"):
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[0] if lines else ""
    if len(said) > MAX_CAUSE:  # torch lists every symbol of an expression
        said = f"{said[:MAX_CAUSE].rstrip()} ..."
    return f"{type(error).__name__}: {said}"


def _advice(error: BaseException) -> str:
    """Advice for common failures."""
    text = f"{type(error).__name__} {error} {type(error.__cause__).__name__}"
    if "data-dependent" in text or "DataDependent" in text:
        return "The model has data-dependent control flow: use torch.where or a mask. "
    if "specialized" in text or "Constraints violated" in text:
        return "The model uses the size of a dynamic axis as a number (a loop, int(), a reshape): keep it symbolic. "
    return ""
