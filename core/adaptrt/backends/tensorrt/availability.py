"""Whether an engine can be built on this machine."""

from __future__ import annotations

from adaptrt.backends.tensorrt.device import driver_version, identify_device
from adaptrt.backends.tensorrt.generations import Generation, can_build, generation_of, installed_version
from adaptrt.errors import AdaptrtError, DependencyError, EngineError

NO_GPU = "no NVIDIA GPU is visible"
_NO_DEVICE = ("cudaErrorNoDevice", "cudaErrorInsufficientDriver")


def engine_unavailable_reason(target: Generation, device: int = 0) -> str | None:
    """Why no engine can be built on this machine for this generation of TensorRT; ``None`` if it can.

    A requested device that does not exist is an error if other devices exist.
    """
    product = target.product
    if not can_build(product):
        return f"{product.title} is not installed"
    version = installed_version(product)
    if version is not None and generation_of(version, product) != target:
        return f"the graph is made for {target.title}, but {version} is installed"
    if target.compute_capabilities:
        return None  # it also builds without a GPU
    return no_gpu_reason(device)


def no_gpu_reason(device: int = 0) -> str | None:
    """Why no NVIDIA GPU can be used on this machine; ``None`` if one can."""
    try:
        identify_device(device)
    except DependencyError as error:
        return error.message.rstrip(".")
    except EngineError as error:
        if no_gpu(error):
            return NO_GPU
        raise
    return None


def no_gpu(error: AdaptrtError) -> bool:
    """Whether CUDA failed because this machine has no GPU, or no driver for it."""
    return any(name in error.message for name in _NO_DEVICE)


def issue_platform(target: Generation, device: int = 0) -> dict[str, str]:
    """The product, its installed version and the compute capability, as known issues name them."""
    from adaptrt.backends.tensorrt.generations import installed_version

    machine = machine_of(target, device)
    return {
        "product": target.product.name,
        "version": installed_version(target.product) or "",
        "capability": machine.get("capability", ""),
    }


def machine_of(target: Generation, device: int = 0) -> dict[str, str]:
    """What an engine and its verification depend on: the GPU, its compute capability, the driver."""
    if not can_build(target.product):
        return {}
    try:
        name, capability = identify_device(device)
    except AdaptrtError:
        return {"gpu": "none"}
    return {"gpu": name, "capability": capability, "driver": driver_version() or ""}
