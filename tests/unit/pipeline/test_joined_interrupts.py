"""Ctrl-C at any line of a joined call: no other call is lost, and no thread waits for ever."""

from __future__ import annotations

import linecache
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from patience import HANG, wait_until

from adaptrt import ModelSpec
from adaptrt.pipeline import joined_calls
from adaptrt.pipeline.batches import BatchResult, Timing
from adaptrt.pipeline.joined_calls import JoinedCalls

SPEC = ModelSpec(inputs=())
MAIN = 10
"""The image of the thread that is interrupted."""


def soon(condition: Callable[[], bool], what: str) -> None:
    """As ``wait_until``, without its pause if it has only to wait for other threads to take their turn."""
    for _ in range(200):
        if condition():
            return
        time.sleep(0.0001)
    wait_until(condition, what)


def interrupted(call: Callable[[], Any], joined: JoinedCalls, step: int) -> bool:
    """Raise ``KeyboardInterrupt`` in this thread before the line with this number, counted as they run; whether there is one.

    Not where a ``with`` block releases the lock: Python handles no signal there.
    """
    left = step

    def trace(frame: Any, event: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename != joined_calls.__file__:
            return None
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
        if event in ("call", "line") and not (line.startswith("with ") and joined._lock.locked()):
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


class Scene:
    """Calls of threads beside that of this one. ``begin`` waits until those that a test wants have come."""

    def __init__(self, pool: ThreadPoolExecutor, at_once: int) -> None:
        self.pool = pool
        self.joined = JoinedCalls(self.begin, 4, at_once=at_once)
        self.calls: dict[int, Future[BatchResult]] = {}
        self.over = threading.Event()
        self.on_begin: dict[int, Callable[[], None]] = {}
        """What happens as the batch of an image begins, once."""

    def begin(self, images: Sequence[Any], _: ModelSpec) -> Callable[[], BatchResult]:
        for image in images:
            self.on_begin.pop(image, lambda: None)()
        return lambda: BatchResult([2 * image for image in images], Timing(0, 0, 0), ())  # type: ignore[misc]

    def call(self, image: int) -> None:
        """In another thread; returns once it waits, or has ended."""
        if image not in self.calls:
            self.calls[image] = self.pool.submit(self.joined, image, SPEC)
            soon(lambda: self.waits(image) or self.calls[image].done(), "the call")

    def waits(self, image: int) -> bool:
        return any(one.given == image for one in self.joined._state.waiting)

    def main_waits(self) -> None:
        soon(lambda: self.waits(MAIN) or self.over.is_set(), "the call of the main thread")


def leads(scene: Scene) -> None:
    """This thread runs alone, and the others wait until it has ended."""
    scene.on_begin[MAIN] = lambda: [scene.call(image) for image in (1, 2)]  # type: ignore[assignment,return-value]


def leads_others(scene: Scene) -> None:
    """This thread waits, and then leads a batch with the others."""

    def others() -> None:
        scene.main_waits()
        scene.call(2)
        scene.call(3)

    scene.on_begin[1] = others
    scene.calls[1] = scene.pool.submit(scene.joined, 1, SPEC)
    soon(lambda: 1 not in scene.on_begin, "the first batch")


def is_led(scene: Scene) -> None:
    """Another thread runs the call of this one."""
    scene.on_begin[1] = lambda: (scene.call(2), scene.main_waits(), scene.call(3))  # type: ignore[assignment,return-value]
    scene.calls[1] = scene.pool.submit(scene.joined, 1, SPEC)
    soon(lambda: 1 not in scene.on_begin, "the first batch")


@pytest.mark.parametrize("at_once", [1, 2])
@pytest.mark.parametrize("prepare", [leads, leads_others, is_led])
def test_ctrl_c_at_any_line(prepare: Callable[[Scene], None], at_once: int) -> None:
    step = 0
    with ThreadPoolExecutor(4) as pool:
        while True:
            step += 1
            scene = Scene(pool, at_once)
            prepare(scene)
            found = interrupted(lambda: scene.joined(MAIN, SPEC), scene.joined, step)  # noqa: B023
            scene.over.set()
            for image in (1, 2, 3):
                scene.call(image)
            for image, call in scene.calls.items():
                assert call.result(HANG).predictions == [2 * image], (step, image)
            assert scene.joined(7, SPEC).predictions == [14], step
            soon(lambda: scene.joined.idle, "the end")  # noqa: B023
            if not found:
                break
    assert step > 12
