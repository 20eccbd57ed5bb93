"""Half precision by NVIDIA ModelOpt's AutoCast, instead of adaptrt's own rules. See ``[settings.modelopt]``."""

from __future__ import annotations

from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path

from adaptrt import Conversion, ModelSpec, Precision, hookimpl
from adaptrt_modelopt.settings import settings_of


@hookimpl(wrapper=True)
def model_spec(ctx: Conversion) -> Generator[None, ModelSpec, ModelSpec]:
    """Adds nothing: a mistake in the settings should be known before minutes are spent."""
    settings_of(ctx)
    return (yield)


@hookimpl
def reduce_precision(ctx: Conversion, onnx_path: Path, spec: ModelSpec, precision: Precision) -> Path | None:
    """The graph with the types that AutoCast chooses, wherever core would choose them itself."""
    if not ctx.reduced_graph:
        return None
    settings = settings_of(ctx)
    if find_spec("modelopt") is None:
        ctx.notes.append("AutoCast is not used: nvidia-modelopt is missing (pip install 'adaptrt-modelopt[modelopt]')")
        return None
    from adaptrt_modelopt.autocast import write_autocast

    return write_autocast(ctx, onnx_path, spec, precision, settings)
