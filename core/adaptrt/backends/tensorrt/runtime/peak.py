"""What a GPU computes and copies at most, measured."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable

from adaptrt.backends.tensorrt.device import multiprocessors
from adaptrt.backends.tensorrt.runtime.compiled import KernelFile, Kernels, integer, kernels_for, pointer
from adaptrt.backends.tensorrt.runtime.cuda import Cuda
from adaptrt.errors import EngineError
from adaptrt.specs.runners import DevicePeak

_THREADS = 128  # THREADS in peak.cu
_BLOCKS = 2  # for each multiprocessor
_SECONDS = 0.5  # of measurements: a GPU that was idle takes a while to reach its clock
_LEAST = 0.005  # of one measurement: starting it takes microseconds
_COPIED = 256 << 20  # bytes: more than the caches of every GPU


def kernel_file(capability: str) -> KernelFile:
    """The kernels, named by precision, for which this architecture has the instructions that reach its peak."""
    major = int(capability.partition(".")[0])
    if major < 8:
        return KernelFile("peak.cu", ("fp32", "fp16", "int8"))
    if major in (10, 11):  # Blackwell in data centers, and Thor: other instructions use their tensor cores
        return KernelFile("peak.cu", ("fp32",))
    return KernelFile("peak.cu", ("fp32", "tf32", "fp16", "bf16", "int8"), own=major == 9)


def measure_peak(cuda: Cuda, capability: str, precision: str) -> DevicePeak:
    """The best of some measurements: products in this precision by the tensor cores, or of single numbers in fp32, and a copy in
    the memory of the GPU.

    Raises an ``EngineError`` for a precision, or an architecture, whose products this does not measure.
    """
    file = kernel_file(capability)
    if precision not in file.kernels:
        raise EngineError(f"A GPU of compute capability {capability} is not measured in {precision}.")
    kernels = kernels_for(cuda, capability, file)
    with cuda.current():
        stream = cuda.new_stream()
        try:
            return DevicePeak(_operations(cuda, kernels, precision, stream), _bytes_copied(cuda, stream))
        finally:
            cuda.free_stream(stream)


def _operations(cuda: Cuda, kernels: Kernels, precision: str, stream: int) -> float:
    """Per second."""
    blocks = _BLOCKS * multiprocessors(cuda.device)
    out = cuda.malloc_host(16)
    try:

        def work(rounds: int) -> None:
            kernels.launch(precision, (blocks, 1, 1), (_THREADS, 1, 1), ((out, pointer), (rounds, integer)), stream)
            cuda.synchronize(stream)

        _, seconds = _fastest(work)
        return blocks * ctypes.c_longlong.from_address(out).value / seconds
    finally:
        cuda.free_host(out)


def _bytes_copied(cuda: Cuda, stream: int) -> float:
    """Read and written per second."""
    size = min(_COPIED, cuda.memory()[0] // 4)
    memory = cuda.malloc(2 * size, "a measurement")
    try:

        def work(copies: int) -> None:
            for _ in range(copies):
                cuda.copy(memory + size, memory, size, cuda.on_device, stream)
            cuda.synchronize(stream)

        copies, seconds = _fastest(work)
        return 2.0 * size * copies / seconds
    finally:
        cuda.free(memory)


def _fastest(work: Callable[[int], None]) -> tuple[int, float]:
    """How many repeats take long enough to be timed, and the least seconds of so many; the last call was one of those."""

    def timed() -> float:
        started = time.perf_counter()
        work(repeats)
        return time.perf_counter() - started

    repeats = 1
    while timed() < _LEAST:
        repeats *= 2
    end = time.perf_counter() + _SECONDS
    found = [timed()]
    while time.perf_counter() < end:
        found.append(timed())
    return repeats, min(found)
