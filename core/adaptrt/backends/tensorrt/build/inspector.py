"""TensorRT's engine inspector, with formats also for dynamic shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adaptrt.backends.tensorrt.build.profiles import Profile


@dataclass(frozen=True)
class Inspection:
    """``layers``: the inspector's JSON; ``device_memory``: bytes of activations of one context;
    ``weight_bytes``: of all weights, if this version reports it."""

    layers: str
    device_memory: int
    weight_bytes: int | None


def inspect_engine(trt: Any, engine: Any, profiles: Sequence[Profile]) -> Inspection:
    """Inspect at the opt shapes of the first profile: formats of dynamic layers require a context with shapes."""
    inspector = engine.create_engine_inspector()
    context = engine.create_execution_context()
    if context is not None:
        for name, shape in profiles[0].shapes.items() if profiles else ():
            context.set_input_shape(name, tuple(dim.opt for dim in shape))
        if profiles:
            context.infer_shapes()  # without it, 8.6 reports all formats as "N/A due to dynamic shapes"
        inspector.execution_context = context
    layers = str(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
    return Inspection(layers, device_memory(engine), weight_bytes(trt, engine))


def device_memory(engine: Any) -> int:
    """Bytes of device memory for activations of one context."""
    for name in ("device_memory_size_v2", "device_memory_size"):  # the second was removed in TensorRT 11
        if hasattr(engine, name):
            return int(getattr(engine, name))
    return 0


def weight_bytes(trt: Any, engine: Any) -> int | None:
    """Bytes of all weights, as later versions count them; ``None`` in earlier ones, and in a stripped plan."""
    if not hasattr(engine, "get_engine_stat"):
        return None
    size = int(engine.get_engine_stat(trt.EngineStat.TOTAL_WEIGHTS_SIZE))
    return size if size > 0 else None
