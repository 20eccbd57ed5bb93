"""Reduces precision with AutoCast, and quantizes with the ONNX quantization, of NVIDIA ModelOpt. See ``[settings.modelopt]``."""

from __future__ import annotations

from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path

from adaptrt import Conversion, ModelSpec, Precision, hookimpl, needs_calib
from adaptrt_modelopt.settings import settings_of


@hookimpl(wrapper=True)
def model_spec(ctx: Conversion) -> Generator[None, ModelSpec, ModelSpec]:
    """Checks the settings, so that an invalid one is reported before the conversion runs. Changes nothing."""
    settings_of(ctx)
    return (yield)


@hookimpl
def reduce_precision(ctx: Conversion, onnx_path: Path, spec: ModelSpec, precision: Precision) -> Path | None:
    """The graph with the types that AutoCast chooses, if the graph needs casts at all."""
    if not ctx.reduced_graph:
        return None
    settings = settings_of(ctx)
    if _missing(ctx, "AutoCast"):
        return None
    from adaptrt_modelopt.autocast import write_autocast

    return write_autocast(ctx, onnx_path, spec, precision, settings)


@hookimpl
@needs_calib
def quantize(ctx: Conversion, onnx_path: Path, spec: ModelSpec, precision: Precision) -> Path | None:
    """The layers that adaptrt quantizes, with the ranges that ModelOpt measures on the images of ``--calib``."""
    if ctx.calibration is None or not settings_of(ctx).quantize or _missing(ctx, "ModelOpt's quantization"):
        return None
    from adaptrt_modelopt.quantization import write_int8

    return write_int8(ctx, onnx_path, spec, precision)


def _missing(ctx: Conversion, what: str) -> bool:
    if find_spec("modelopt") is not None:
        return False
    ctx.notes.append(f"{what} is not used: nvidia-modelopt is missing (pip install 'adaptrt-modelopt[modelopt]')")
    return True
