"""Host time of a CUDA operation: cuda-bindings, which the runtime uses, compared with cuda-core.

Copies of a YOLO input, an event, and a synchronization, measured alternately in one process. Requires a GPU and cuda-core.

::

    python -m benchmarks.gpu.cuda_core [--json FILE]
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.common.results import arguments, finish, machine, table

BYTES = 3 * 640 * 640 * 4
ROUNDS, REPEATS = 30, 200


def with_bindings() -> dict[str, Callable[[], Any]]:
    from cuda.bindings import runtime as cudart

    def checked(answer: tuple[Any, ...]) -> Any:
        if answer[0] != cudart.cudaError_t.cudaSuccess:
            raise RuntimeError(str(answer[0]))
        return answer[1] if len(answer) > 1 else None

    checked(cudart.cudaSetDevice(0))
    stream = checked(cudart.cudaStreamCreate())
    device, host = checked(cudart.cudaMalloc(BYTES)), checked(cudart.cudaMallocHost(BYTES))
    event = checked(cudart.cudaEventCreate())
    kind = cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
    return {
        "copy to the device": lambda: checked(cudart.cudaMemcpyAsync(device, host, BYTES, kind, stream)),
        "record an event": lambda: checked(cudart.cudaEventRecord(event, stream)),
        "synchronize": lambda: checked(cudart.cudaStreamSynchronize(stream)),
    }


def with_core() -> dict[str, Callable[[], Any]]:
    from cuda.core.experimental import Device, LegacyPinnedMemoryResource

    device = Device(0)
    device.set_current()
    stream = device.create_stream()
    target = device.allocate(BYTES, stream=stream)
    source = LegacyPinnedMemoryResource().allocate(BYTES)
    event = stream.record()
    return {
        "copy to the device": lambda: source.copy_to(target, stream=stream),
        "record an event": lambda: stream.record(event),
        "synchronize": stream.sync,
    }


def seconds(call: Callable[[], Any], wait: Callable[[], Any]) -> float:
    """Of one call on the host; what it queued is waited for outside of the time."""
    wait()
    started = time.perf_counter()
    for _ in range(REPEATS):
        call()
    spent = (time.perf_counter() - started) / REPEATS
    wait()
    return spent


def main() -> None:
    options = arguments(__doc__).parse_args()
    sides = {"cuda-bindings": with_bindings(), "cuda-core": with_core()}
    times: dict[tuple[str, str], list[float]] = {}
    for _ in range(ROUNDS):
        for side, calls in sides.items():
            for name, call in calls.items():
                times.setdefault((name, side), []).append(seconds(call, calls["synchronize"]))
    medians = {key: statistics.median(values) for key, values in times.items()}
    rows = []
    for name in sides["cuda-bindings"]:
        ours, theirs = medians[name, "cuda-bindings"], medians[name, "cuda-core"]
        rows.append([name, f"{1e6 * ours:.2f}", f"{1e6 * theirs:.2f}", f"{theirs / ours:.2f}"])
    table(["operation", "cuda-bindings, us", "cuda-core, us", "ratio"], rows)
    result = {
        **machine("cuda-bindings", "cuda-core"),
        "bytes": BYTES,
        "microseconds": {f"{name}, {side}": 1e6 * value for (name, side), value in medians.items()},
        "spread": {f"{name}, {side}": float(1e6 * np.ptp(values)) for (name, side), values in times.items()},
    }
    finish("gpu_cuda_core", options.json, result)


if __name__ == "__main__":
    main()
