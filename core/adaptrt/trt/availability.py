"""Whether an engine can be built here."""

from __future__ import annotations

from adaptrt.errors import DependencyError, EngineError
from adaptrt.trt.cuda import identify_device
from adaptrt.trt.versions import can_build, features_of, installed_version

_NO_GPU = ("cudaErrorNoDevice", "cudaErrorInsufficientDriver")


def why_no_engine(target: int, device: int = 0) -> str | None:
    """Why no engine can be built here for this generation of TensorRT; ``None`` if it can.

    A device that does not exist beside others that do is an error: it was asked for.
    """
    if not can_build():
        return "TensorRT is not installed here"
    version = installed_version()
    if version is not None and features_of(version).generation != target:
        return f"the graph is made for TensorRT {target}, and {version} is installed here"
    try:
        identify_device(device)
    except DependencyError as error:
        return error.message.rstrip(".")
    except EngineError as error:
        if any(name in error.message for name in _NO_GPU):
            return "no NVIDIA GPU is visible here"
        raise
    return None
