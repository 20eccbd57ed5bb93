"""OpenVINO itself: imported late and without its telemetry, and compiling with the requested precision."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any

from adaptrt import DependencyError
from adaptrt.specs.precisions import FP32, Precision

_TELEMETRY = "openvino_telemetry"
_importing = threading.Lock()
_INSTALL = "Install it: pip install 'adaptrt-openvino[openvino]'"

# The modes of OpenVINO on a CPU, and the type of floating-point layers in each. The default is bfloat16, if supported.
_HINTS = {"fp32": "f32", "fp16": "f32", "bf16": "bf16", "int8": "f32"}
MODES = tuple(_HINTS)
_CASTS = {"float16": "fp16", "bfloat16": "bf16"}


def mode_of(precision: Precision) -> str | None:
    """The OpenVINO mode for a precision, by its properties, not its name; ``None`` if there is none."""
    if precision.form == "qdq":
        return "int8" if precision.quantized_type == "int8" else None
    if precision.form == "cast":
        return _CASTS.get(precision.onnx_type)
    return "fp32" if precision == FP32 else None


def installed() -> bool:
    """Whether OpenVINO is installed. Imports nothing."""
    return importlib.util.find_spec("openvino") is not None


def import_openvino() -> Any:
    """The module ``openvino``; raises a ``DependencyError`` if it is missing or cannot be imported."""
    if not installed():
        raise DependencyError("OpenVINO is not installed.", hint=_INSTALL)
    try:
        with _without_telemetry():
            return importlib.import_module("openvino")
    except (ImportError, OSError) as error:
        raise DependencyError(f"OpenVINO is installed but cannot be imported: {error}", hint=_INSTALL) from error


def new_core() -> Any:
    """A ``Core`` with a CPU device; raises a ``DependencyError`` if there is none."""
    core = import_openvino().Core()
    if "CPU" not in core.available_devices:
        raise DependencyError("This OpenVINO has no CPU device.", hint=_INSTALL)
    return core


def cpu_capabilities(core: Any) -> list[str]:
    """The types that the CPU computes in natively: ``FP32``, ``BF16``, ``INT8`` ..."""
    return list(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def computes_bf16(core: Any) -> bool:
    return "BF16" in cpu_capabilities(core)


def openvino_version() -> str:
    return metadata.version("openvino")


def cpu_name(core: Any) -> str:
    return str(core.get_property("CPU", "FULL_DEVICE_NAME")).strip()


def compile_model(core: Any, model: Any, mode: str) -> Any:
    """The model, compiled for the CPU to compute floating-point layers in ``mode``.

    By default, OpenVINO also quantizes activations if weights are stored in 8 bits; this is disabled.
    """
    settings = {"INFERENCE_PRECISION_HINT": _HINTS[mode], "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
    return core.compile_model(model, "CPU", settings)


def first_line(error: Exception) -> str:
    """OpenVINO's error message, without the location in its source code."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(("Exception from ", "Check '"))]
    return (said or lines or [type(error).__name__])[0]


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """Hide OpenVINO's telemetry package during the import, because every import sends a report."""
    with _importing:
        if "openvino" in sys.modules or _TELEMETRY in sys.modules:
            yield
            return
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
        try:
            yield
        finally:
            del sys.modules[_TELEMETRY]
