"""``torch.onnx.export`` through both of its front ends."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import nn

from adaptrt.errors import ExportError, disk_error
from adaptrt.export.wrapper import FlatModel
from adaptrt.request import Exporter
from adaptrt.specs import ModelSpec

# in the file's metadata until it is rewritten; a graph without it comes from TorchScript
EXPORTER_KEY = "adaptrt.exporter"

# the newest opset that a front end writes well and a TensorRT generation reads
_OPSET_CAP = {8: 17, 10: 20, 11: 20}
_DYNAMO_MINIMUM = 18


def choose_exporter(asked: Exporter, spec: ModelSpec, target: int) -> Exporter:
    """What ``auto`` takes: what the spec prefers; TorchScript for TensorRT 8, which refuses parts of opset 18."""
    if asked != "auto":
        return asked
    if target == 8:
        return "torchscript"
    return spec.exporter or "dynamo"


def choose_opset(asked: int | None, exporter: Exporter, target: int) -> int:
    """The opset asked for, else 17 (TorchScript) or 18 (dynamo, whose minimum it is)."""
    if asked is None:
        return 17 if exporter == "torchscript" else _DYNAMO_MINIMUM
    if exporter == "dynamo" and asked < _DYNAMO_MINIMUM:
        raise ExportError(
            f"The dynamo exporter writes opset {_DYNAMO_MINIMUM} or later, not {asked}.",
            hint=f"Use --exporter torchscript --opset {asked}.",
        )
    if asked > _OPSET_CAP[target]:
        raise ExportError(
            f"Opset {asked} is beyond what TensorRT {target} reads ({_OPSET_CAP[target]}).",
            hint=f"Use --opset {_OPSET_CAP[target]}, or another --target.",
        )
    return asked


def export_onnx(
    model: nn.Module, inputs: Mapping[str, torch.Tensor], spec: ModelSpec, path: Path, *, exporter: Exporter, opset: int
) -> None:
    """Write the graph of ``model``; exactly the dynamic axes of the spec are symbolic."""
    flat = FlatModel(model).eval()
    export = _export_dynamo if exporter == "dynamo" else _export_torchscript
    try:
        with torch.no_grad(), _quiet():
            export(flat, inputs, spec, path, opset)
    except Exception as error:
        full = disk_error(error)
        if full is not None:
            raise full from error
        other = "torchscript" if exporter == "dynamo" else "dynamo"
        raise ExportError(
            f"torch.onnx.export ({exporter}, opset {opset}) failed: {_first_line(error)}",
            hint=f"Try --exporter {other}; --debug shows the whole traceback.",
        ) from error


def _export_torchscript(
    model: nn.Module, inputs: Mapping[str, torch.Tensor], spec: ModelSpec, path: Path, opset: int
) -> None:
    dynamic_axes = {
        tensor.name: {axis: tensor.axis_name(axis) for axis, dim in enumerate(tensor.dims) if dim.dynamic}
        for tensor in spec.inputs
    }
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        # a scripted module keeps its own loops and branches, but cannot be called within this exporter's trace
        model = torch.jit.trace(model, tuple(inputs.values()), check_trace=False)  # type: ignore[no-untyped-call]
    batch = next((axes[0] for axes in dynamic_axes.values() if 0 in axes), None)
    if batch is not None:  # without it the exporter invents a name for the outputs' batch axis
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
    )


def _export_dynamo(
    model: nn.Module, inputs: Mapping[str, torch.Tensor], spec: ModelSpec, path: Path, opset: int
) -> None:
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


def _strided(spec: ModelSpec, name: str, axis: int) -> bool:
    """Height and width are multiples of the stride, which torch.export finds out by itself and wants left to it."""
    return spec.image is not None and spec.image.stride > 1 and name == spec.image.input and axis >= 2


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Exporters talk on every channel; what matters comes back as an error or from the checks."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "torch.export")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
