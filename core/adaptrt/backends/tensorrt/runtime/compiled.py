"""Compiles the kernels of this package with NVRTC, once for each architecture; the result is kept on disk."""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptrt.backends.tensorrt.device import import_driver
from adaptrt.backends.tensorrt.runtime.cuda import Cuda
from adaptrt.errors import DependencyError, EngineError
from adaptrt.store.cache import cache_folder
from adaptrt.store.private_folder import folder_problem, make_private, read_regular
from adaptrt.store.workspace import write_whole

_OPTIONS = ("--std=c++14", "--fmad=false")  # a product is rounded before it is compared, as in NumPy
_LARGEST = 16 << 20
_lock = threading.Lock()
_loaded: dict[tuple[int, KernelFile], Kernels] = {}

# a value of a kernel's parameter and its type
Argument = tuple[Any, Any]
pointer, integer, long, number = ctypes.c_void_p, ctypes.c_int, ctypes.c_longlong, ctypes.c_float


@dataclass(frozen=True)
class KernelFile:
    """A file in this folder, and the kernels in it that are called. ``own``: for this architecture alone, which has more instructions."""

    name: str
    kernels: tuple[str, ...]
    own: bool = False

    def source(self) -> str:
        return Path(__file__).with_name(self.name).read_text(encoding="utf-8")

    def architecture(self, capability: str) -> str:
        return f"sm_{capability.replace('.', '')}{'a' if self.own else ''}"


IMAGE_KERNELS = KernelFile("kernels.cu", ("preprocess", "widen", "mark", "list", "suppress", "gather"))


class Kernels:
    """The kernels of a file, loaded on one device."""

    def __init__(self, cuda: Cuda, file: KernelFile, binary: bytes) -> None:
        self._cuda, self._driver = cuda, import_driver()
        cuda.bind()
        with cuda.current():
            self._module = self._cuda.driven(self._driver.cuModuleLoadData(binary), "load kernels")
            self._functions = {
                name: self._cuda.driven(
                    self._driver.cuModuleGetFunction(self._module, name.encode()), f"find kernel {name}"
                )
                for name in file.kernels
            }

    def launch(
        self,
        name: str,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        arguments: Sequence[Argument],
        stream: int,
    ) -> None:
        self._cuda.bind()
        values = (tuple(value for value, _ in arguments), tuple(kind for _, kind in arguments))
        self._cuda.driven(
            self._driver.cuLaunchKernel(self._functions[name], *grid, *block, 0, stream, values, 0), f"launch {name}"
        )


def kernels_for(cuda: Cuda, capability: str, file: KernelFile = IMAGE_KERNELS) -> Kernels:
    """The kernels on this device. A ``DependencyError`` if they are not compiled yet and NVRTC is missing."""
    with _lock:
        key = (cuda.device, file)
        if key not in _loaded:
            _loaded[key] = Kernels(cuda, file, binary_for(file, file.architecture(capability)))
        return _loaded[key]


def binary_for(file: KernelFile, architecture: str) -> bytes:
    """The kernels for ``sm_90``, from the cache if they were compiled before."""
    folder = cache_folder() / "kernels"
    source = file.source()
    path = folder / f"{_digest(source)}-{architecture}.cubin"
    trusted = folder_problem(folder.parent, [folder.name]) is None
    known = read_regular(path, _LARGEST) if trusted else None
    if known:
        return known
    binary = compile_kernels(file, architecture)
    if trusted:
        try:
            make_private(folder)
            write_whole(path, binary)
        except OSError:  # a read-only cache: the next process compiles again
            return binary
    return binary


def compile_kernels(file: KernelFile, architecture: str) -> bytes:
    nvrtc = _nvrtc()
    program = _compiled(
        nvrtc.nvrtcCreateProgram(file.source().encode(), file.name.encode(), 0, [], []), "create a program"
    )
    options = [f"--gpu-architecture={architecture}".encode(), *(option.encode() for option in _OPTIONS)]
    (error,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
    if int(error) != 0:
        size = _compiled(nvrtc.nvrtcGetProgramLogSize(program), "read the log")
        log = b" " * size
        nvrtc.nvrtcGetProgramLog(program, log)
        said = log.decode(errors="replace").strip(" \0\n").splitlines()
        raise EngineError(f"NVRTC cannot compile {file.name} for {architecture}: {said[0] if said else error.name}")
    size = _compiled(nvrtc.nvrtcGetCUBINSize(program), "compile")
    binary = b" " * size
    _compiled(nvrtc.nvrtcGetCUBIN(program, binary), "compile")
    nvrtc.nvrtcDestroyProgram(program)
    return bytes(binary)


def _digest(source: str) -> str:
    return hashlib.sha256("\0".join([source, *_OPTIONS]).encode()).hexdigest()[:16]


def _compiled(answer: tuple[Any, ...], doing: str) -> Any:
    error, *values = answer
    if int(error) != 0:
        raise EngineError(f"NVRTC failed to {doing}: {getattr(error, 'name', error)}.")
    return values[0] if values else None


def _nvrtc() -> Any:
    reason = "cuda-python does not contain it"
    for name in ("cuda.bindings.nvrtc", "cuda.nvrtc"):
        try:
            found = importlib.import_module(name)
            error, _, _ = found.nvrtcVersion()
        except ModuleNotFoundError:
            continue
        except Exception as missing:  # the bindings raise several kinds if the library is not found
            reason = str(missing).partition("\n")[0]
            continue
        if int(error) == 0:
            return found
    raise DependencyError(
        f"NVRTC, CUDA's compiler library, cannot be loaded: {reason}.",
        hint="Install it: pip install nvidia-cuda-nvrtc-cu12, or nvidia-cuda-nvrtc for CUDA 13.",
    )
