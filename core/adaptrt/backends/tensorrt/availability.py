"""Whether an engine can be built here."""

from __future__ import annotations

from adaptrt.backends.tensorrt.device import identify_device
from adaptrt.backends.tensorrt.generations import Generation, can_build, generation_of, installed_version
from adaptrt.errors import DependencyError, EngineError

_NO_GPU = ("cudaErrorNoDevice", "cudaErrorInsufficientDriver")


def engine_unavailable_reason(target: Generation, device: int = 0) -> str | None:
    """Why no engine can be built here for this generation of TensorRT; ``None`` if it can.

    A device that does not exist beside others that do is an error: it was asked for.
    """
    product = target.product
    if not can_build(product):
        return f"{product.title} is not installed here"
    version = installed_version(product)
    if version is not None and generation_of(version, product) != target:
        return f"the graph is made for {target.title}, and {version} is installed here"
    if target.compute_capabilities:
        return None  # it builds for other GPUs
    return no_gpu_reason(device)


def no_gpu_reason(device: int = 0) -> str | None:
    """Why no NVIDIA GPU can be used here; ``None`` if one can."""
    try:
        identify_device(device)
    except DependencyError as error:
        return error.message.rstrip(".")
    except EngineError as error:
        if any(name in error.message for name in _NO_GPU):
            return "no NVIDIA GPU is visible here"
        raise
    return None
