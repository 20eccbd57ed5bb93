"""The CUDA runtime through cuda-python, and the description of a device."""

from __future__ import annotations

import ctypes
import importlib
from dataclasses import dataclass
from typing import Any

from adaptrt.errors import DependencyError, EngineError


@dataclass(frozen=True)
class Device:
    """A GPU: ``capability`` is its compute capability (``9.0``), ``memory`` and ``free`` are bytes.

    ``cuda`` is the runtime's version (``12.9``), ``driver`` the NVIDIA driver's (``580.95.05``), if available.
    """

    index: int
    name: str
    capability: str
    memory: int
    free: int
    cuda: str
    driver: str | None

    @property
    def sm(self) -> str:
        return f"sm_{self.capability.replace('.', '')}"


def import_cudart() -> Any:
    """The module of CUDA runtime functions; its name changed with cuda-python 12.4 and 13."""
    return _import_cuda("cuda.bindings.runtime", "cuda.cudart")


def import_driver() -> Any:
    """The module of CUDA driver functions."""
    return _import_cuda("cuda.bindings.driver", "cuda.cuda")


def _import_cuda(*names: str) -> Any:
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise DependencyError("cuda-python is not installed.", hint="Install it: pip install 'adaptrt[trt]'")


def checked(result: tuple[Any, ...], doing: str = "") -> Any:
    """The values of a CUDA runtime call; raises an ``EngineError`` with CUDA's error name on failure."""
    error, *values = result
    if int(error) != 0:
        name = getattr(error, "name", str(error))
        raise EngineError(f"CUDA: {name}{f' ({doing})' if doing else ''}.", hint=_HINTS.get(name))
    return values[0] if len(values) == 1 else tuple(values)


_HINTS = {
    "cudaErrorNoDevice": "No NVIDIA GPU is visible: check nvidia-smi and CUDA_VISIBLE_DEVICES.",
    "cudaErrorInsufficientDriver": "The NVIDIA driver is missing or too old for this CUDA: check nvidia-smi.",
    "cudaErrorInvalidDevice": "No such GPU: nvidia-smi -L lists the GPUs; CUDA_VISIBLE_DEVICES renumbers them.",
    "cudaErrorMemoryAllocation": "The GPU is out of memory: free memory, or use a smaller batch.",
}


def identify_device(index: int = 0) -> tuple[str, str]:
    """Name and compute capability of a GPU; fast, since no context is created."""
    properties = checked(import_cudart().cudaGetDeviceProperties(index), f"device {index}")
    name = properties.name
    text = name.decode(errors="replace") if isinstance(name, bytes) else str(name)
    return text.strip("\0 "), f"{properties.major}.{properties.minor}"


def multiprocessors(index: int) -> int:
    return int(checked(import_cudart().cudaGetDeviceProperties(index), f"device {index}").multiProcessorCount)


def describe_device(index: int = 0) -> Device:
    """Describe the GPU. Makes it the current device of this thread."""
    cudart = import_cudart()
    checked(cudart.cudaSetDevice(index), f"device {index}")
    name, capability = identify_device(index)
    free, total = checked(cudart.cudaMemGetInfo(), f"device {index}")
    runtime = int(checked(cudart.cudaRuntimeGetVersion()))
    return Device(
        index=index,
        name=name,
        capability=capability,
        memory=int(total),
        free=int(free),
        cuda=f"{runtime // 1000}.{runtime % 1000 // 10}",
        driver=driver_version(),
    )


def driver_version() -> str | None:
    """The NVIDIA driver's version, through NVML; ``None`` if NVML is missing."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    if nvml.nvmlInit_v2() != 0:
        return None
    text = ctypes.create_string_buffer(96)
    found = nvml.nvmlSystemGetDriverVersion(text, len(text)) == 0
    nvml.nvmlShutdown()
    return text.value.decode() if found else None
