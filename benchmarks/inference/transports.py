"""How fast this machine brings images to its GPU, without an engine: what calls and streams are bounded by.

Of an image in pageable memory, the host has to copy what the GPU needs to page-locked memory, or has to resize it; the driver's own copy
does the first, too. Each way is measured alone: the median of one image with everything waited for, and of a batch of 8 images on several
threads, per image. The fastest way is the bound, whichever way adaptrt takes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.gpu.timing import ok

if TYPE_CHECKING:
    from adaptrt.backends.tensorrt.runtime.placed_images import Placed

BLOCK = 64 << 20
THREADS = (1, 2, 4, 8, 16)
_STREAMED = 8  # batches of a stream, between which no thread waits
Call = Callable[[], Any]


def cores() -> int:
    return len(os.sched_getaffinity(0))


def thread_counts() -> list[int]:
    return [count for count in THREADS if count <= max(cores(), 1)]


def median(call: Call, seconds: float, least: int = 7) -> float:
    """Milliseconds."""
    for _ in range(3):
        call()
    times: list[float] = []
    until = time.perf_counter() + seconds
    while len(times) < least or time.perf_counter() < until:
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return 1e3 * float(np.median(times))


def host() -> dict[str, Any]:
    """GB/s of copies from memory to memory that no cache holds, for several numbers of threads, and what the machine has."""
    copied = {}
    pairs = [(np.ones(BLOCK, np.uint8), np.zeros(BLOCK, np.uint8)) for _ in range(min(cores(), 8))]
    for count in thread_counts():
        parts = [
            (source[start:stop], target[start:stop])
            for source, target in pairs
            for start, stop in bounds(BLOCK, max(count // len(pairs), 1))
        ]
        with ThreadPoolExecutor(count) as pool:
            spent = median(lambda: [done.result() for done in [pool.submit(np.copyto, b, a) for a, b in parts]], 0.1, 3)  # noqa: B023
        copied[str(count)] = len(pairs) * BLOCK / spent / 1e6
    nodes = list(Path("/sys/devices/system/node").glob("node[0-9]*"))
    return {"copy, GB/s": copied, "cores": cores(), "cpu_count": os.cpu_count(), "numa nodes": len(nodes)}


def bounds(length: int, parts: int) -> Iterator[tuple[int, int]]:
    return pairwise(length * index // parts for index in range(parts + 1))


def host_copy() -> dict[str, float]:
    source = np.zeros(BLOCK, np.uint8)
    target = np.ones_like(source)
    rate = BLOCK / min(timed(lambda: np.copyto(target, source)) for _ in range(10)) / 1e9
    return {"to device": rate, "to host": rate, "bytes": BLOCK}


def gpu_bus() -> dict[str, float]:
    """GB/s of 64 MiB in page-locked memory; the best of 10."""
    from adaptrt.backends.tensorrt.device import import_cudart

    cudart = import_cudart()
    host, device = int(ok(cudart.cudaHostAlloc(BLOCK, 0))), int(ok(cudart.cudaMalloc(BLOCK)))
    kinds = cudart.cudaMemcpyKind

    def copy(to_device: bool) -> None:
        if to_device:
            ok(cudart.cudaMemcpy(device, host, BLOCK, kinds.cudaMemcpyHostToDevice))
        else:
            ok(cudart.cudaMemcpy(host, device, BLOCK, kinds.cudaMemcpyDeviceToHost))

    for _ in range(3):
        copy(True)
    best = [min(timed(lambda: copy(one)) for _ in range(10)) for one in (True, False)]  # noqa: B023
    ok(cudart.cudaFree(device))
    ok(cudart.cudaFreeHost(host))
    return {"to device": BLOCK / best[0] / 1e9, "to host": BLOCK / best[1] / 1e9, "bytes": BLOCK}


def timed(call: Call) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


class Transport:
    """The ways for images of one size: each is a function of the number of an image."""

    def __init__(self, images: list[np.ndarray], placed: Placed, transform: Any, channels: int) -> None:
        from adaptrt.backends.tensorrt.device import import_cudart

        self.cudart = import_cudart()
        kinds = self.cudart.cudaMemcpyKind
        self.kind = kinds.cudaMemcpyHostToDevice
        self.images, self.placed, self.transform, self.channels = images, placed, transform, channels
        self.row = images[0][0].nbytes
        self.used = placed.used if placed.used is not None else np.arange(len(images[0]))
        self.size = len(self.used) * self.row
        self.stream = int(ok(self.cudart.cudaStreamCreateWithFlags(self.cudart.cudaStreamNonBlocking)))
        self.device = int(ok(self.cudart.cudaMalloc(images[0].nbytes)))
        self.pinned = [self.locked(images[0].nbytes) for _ in images]

    def locked(self, size: int) -> np.ndarray:
        import ctypes

        address = int(ok(self.cudart.cudaHostAlloc(size, 0)))
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def close(self) -> None:
        for array in self.pinned:
            ok(self.cudart.cudaFreeHost(array.ctypes.data))
        ok(self.cudart.cudaFree(self.device))
        ok(self.cudart.cudaStreamDestroy(self.stream))

    def send(self, source: np.ndarray, size: int, start: int = 0) -> None:
        ok(self.cudart.cudaMemcpyAsync(self.device + start, source.ctypes.data + start, size, self.kind, self.stream))

    def wait(self) -> None:
        ok(self.cudart.cudaStreamSynchronize(self.stream))

    def send_rows(self, source: np.ndarray) -> None:
        """The rows that the resize uses, in one strided copy."""
        groups = self.placed.groups
        assert groups is not None
        first = source.ctypes.data + groups.first * self.row
        run, step = groups.run * self.row, groups.step * self.row
        ok(self.cudart.cudaMemcpy2DAsync(self.device, run, first, step, run, groups.times, self.kind, self.stream))

    def copy_rows(self, index: int, start: int = 0, stop: int | None = None) -> None:
        used = self.used[start:stop]
        rows = self.images[index].reshape(len(self.images[0]), -1)
        target = self.pinned[index][start * self.row :][: len(used) * self.row].reshape(len(used), -1)
        if len(self.used) == len(rows):
            np.copyto(target, rows[start:stop])
        else:
            rows.take(used, 0, target, "clip")

    def resize(self, index: int) -> int:
        from adaptrt.vision.transforms import write_visible

        _, _, height, width, _ = self.placed.record
        size = height * width * self.channels
        out = self.pinned[index][:size].reshape(height, width, self.channels)
        write_visible(self.images[index], self.placed.placement, self.transform, out)
        return size

    def sliced(self, count: int) -> None:
        """Slices are on the bus while the next ones are copied."""
        for start, stop in bounds(len(self.used), count):
            self.copy_rows(0, start, stop)
            self.send(self.pinned[0], (stop - start) * self.row, start * self.row)
        self.wait()

    def shared(self, pool: ThreadPoolExecutor, count: int) -> None:
        """Each thread copies a part, which is sent as soon as it is there."""
        parts = list(bounds(len(self.used), count))
        done = [pool.submit(self.copy_rows, 0, start, stop) for start, stop in parts]
        for one, (start, stop) in zip(done, parts, strict=True):
            one.result()
            self.send(self.pinned[0], (stop - start) * self.row, start * self.row)
        self.wait()

    def from_pageable(self, seconds: float) -> dict[str, float]:
        """Milliseconds of one image, by way."""

        def resized() -> None:
            self.send(self.pinned[0], self.resize(0))
            self.wait()

        def by_driver() -> None:
            if self.placed.groups is None:
                self.send(self.images[0], self.images[0].nbytes)
            else:
                self.send_rows(self.images[0])
            self.wait()

        ways: dict[str, Call] = {f"copied in {count}": lambda count=count: self.sliced(count) for count in (1, 4)}  # type: ignore[misc]
        ways |= {"resized": resized, "driver": by_driver}
        found = {way: median(call, seconds) for way, call in ways.items()}
        for count in [one for one in thread_counts() if one > 1]:
            with ThreadPoolExecutor(count) as pool:
                found[f"copied by {count} threads"] = median(lambda: self.shared(pool, count), seconds)  # noqa: B023
        return found

    def batch_from_pageable(self, seconds: float) -> dict[str, float]:
        """Milliseconds of each image of a batch on the host, which the bus overlaps, by way and threads."""
        found = {}
        for count in thread_counts():
            with ThreadPoolExecutor(count) as pool:
                for way, work in (("copied", self.copy_rows), ("resized", self.resize)):
                    indices = list(range(len(self.images))) * _STREAMED
                    call = lambda: list(pool.map(work, indices))  # noqa: B023, E731
                    found[f"{way} by {count}"] = median(call, seconds) / len(indices)
        return found

    def from_pinned(self, seconds: float, count: int) -> dict[str, float]:
        """Milliseconds of each of ``count`` images that are sent one after another, by way."""

        def sent(send: Callable[[np.ndarray], None]) -> float:
            def call() -> None:
                for source in self.pinned[:count]:
                    send(source)
                self.wait()

            return median(call, seconds) / count

        found = {"whole": sent(lambda source: self.send(source, self.images[0].nbytes))}
        if self.placed.groups is not None:
            found["used rows"] = sent(self.send_rows)
        return found


def measure(
    images: list[np.ndarray], placed: Placed, transform: Any, channels: int, bus: float, seconds: float
) -> dict[str, Any]:
    """``bus``: bytes per second. ``call``: milliseconds of one image. ``image``: of one of many, where host and bus overlap."""
    transport = Transport(images, placed, transform, channels)
    try:
        alone, batch = transport.from_pageable(seconds), transport.batch_from_pageable(seconds)
        pinned, stream = (transport.from_pinned(seconds, count) for count in (1, len(images)))
    finally:
        transport.close()
    _, _, height, width, _ = placed.record
    crossing = {"copied": transport.size, "resized": height * width * channels}
    overlapped = {way: max(spent, 1e3 * crossing[way.split()[0]] / bus) for way, spent in batch.items()}
    return {
        "pinned": {"ways": pinned, "call": min(pinned.values()), "image": min(stream.values())},
        "pageable": {"ways": alone, "batch": batch, "call": min(alone.values()), "image": min(overlapped.values())},
        "device": {"call": 0.0, "image": 0.0},
    }
