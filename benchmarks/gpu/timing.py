"""Timing on a GPU: alternating calls, and arrays like those of another library."""

from __future__ import annotations

import time
from typing import Any, TypeVar

import numpy as np

from benchmarks.gpu.work import Call

K = TypeVar("K")
ROUNDS, INNER = 15, 20


def percentiles(times: list[float]) -> dict[str, float]:
    p50, p90, p99 = (round(float(value) * 1e6, 2) for value in np.percentile(times, (50, 90, 99)))
    return {"p50": p50, "p90": p90, "p99": p99, "runs": len(times)}


def in_turns(sides: dict[K, Call], rounds: int = ROUNDS, inner: int = INNER) -> dict[K, dict[str, float]]:
    """Microseconds of each; every call ends with the GPU idle."""
    times: dict[K, list[float]] = {name: [] for name in sides}
    for call in sides.values():
        for _ in range(10):
            call()
    for round_ in range(rounds):
        for name in sides if round_ % 2 else reversed(sides):
            call = sides[name]
            for _ in range(inner):
                started = time.perf_counter()
                call()
                times[name].append(time.perf_counter() - started)
    return {name: percentiles(one) for name, one in times.items()}


class Memory:
    """A device array as another library would give it."""

    def __init__(self, cudart: Any, values: np.ndarray) -> None:
        self.values = values
        self.pointer = int(ok(cudart.cudaMalloc(values.nbytes)))
        kind = cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        ok(cudart.cudaMemcpy(self.pointer, values.ctypes.data, values.nbytes, kind))
        self.__cuda_array_interface__ = {
            "shape": values.shape,
            "typestr": values.dtype.str,
            "data": (self.pointer, False),
            "strides": None,
            "stream": None,
            "version": 3,
        }


def ok(answer: tuple[Any, ...]) -> Any:
    """What a function of CUDA gave beside its error code."""
    assert int(answer[0]) == 0, answer[0]
    return answer[1] if len(answer) > 1 else None
