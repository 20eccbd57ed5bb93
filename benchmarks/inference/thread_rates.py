"""Calls per second of threads that each wait for their own result."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from benchmarks.inference.end_to_end import Work

TURNS = 3
Call = Callable[[], Any]


def rates(work: Work, sides: Mapping[str, Call], count: int) -> dict[str, float]:
    turns = [{name: rate(work, call, count) for name, call in sides.items()} for _ in range(TURNS)]
    return {name: float(np.median([turn[name] for turn in turns])) for name in sides}


def with_copies(work: Work, call: Call) -> Call:
    """``call``, and before it, in its thread, the copies that an image in pageable memory needs at least."""
    (image,), own = work.images("720p", "pageable", 1), threading.local()
    cuda = work.model.runner._images.cuda  # type: ignore[attr-defined]

    def copied() -> None:
        if not hasattr(own, "memory"):
            own.memory, own.stream = work.placed(image, "pinned"), int(cuda.new_stream())
            own.source, own.target = own.memory.ctypes.data, cuda.malloc(image.nbytes, "an image")
        np.copyto(own.memory, image)
        cuda.copy(own.target, own.source, image.nbytes, cuda.to_device, own.stream)
        call()
        cuda.synchronize(own.stream)

    return copied


def rate(work: Work, call: Call, count: int) -> float:
    """Calls per second of so many threads."""
    for _ in range(5):
        call()
    done, started = [0] * count, time.perf_counter()
    until = started + work.options.seconds

    def loop(index: int) -> None:
        while time.perf_counter() < until:
            call()
            done[index] += 1

    running = [threading.Thread(target=loop, args=(index,)) for index in range(count)]
    for one in running:
        one.start()
    for one in running:
        one.join()
    return sum(done) / (time.perf_counter() - started)
