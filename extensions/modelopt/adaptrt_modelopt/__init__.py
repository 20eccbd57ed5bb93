"""Reduces precision with AutoCast of NVIDIA ModelOpt instead of adaptrt's own rules. See ``[settings.modelopt]``."""

from __future__ import annotations

from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path

from adaptrt import Conversion, ModelSpec, Precision, hookimpl
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
    if find_spec("modelopt") is None:
        ctx.notes.append("AutoCast is not used: nvidia-modelopt is missing (pip install 'adaptrt-modelopt[modelopt]')")
        return None
    from adaptrt_modelopt.autocast import write_autocast

    return write_autocast(ctx, onnx_path, spec, precision, settings)
