"""Work on the images of a batch, on several threads: OpenCV and numpy release the interpreter lock."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from adaptrt.errors import AdaptrtError, PluginError

_THREADS = 8
_pool_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None


class Spread:
    """``work`` for each of these indices, on several threads (a single one in the calling thread); its results go to ``results``."""

    def __init__(self, work: Callable[[int], Any], results: list[Any], indices: Sequence[int]) -> None:
        self._work, self._results = work, results
        self._left = deque(indices)
        self._errors: dict[int, Exception] = {}
        self._tasks: list[Future[None]] = []
        if len(indices) == 1:
            self._loop()
            return
        pool, count = _threads()
        self._tasks = [pool.submit(self._loop) for _ in range(min(count, len(indices)))]

    def wait(self) -> None:
        wait(self._tasks)

    def finished(self) -> list[Any]:
        """The results; the first error in order is raised, once all work has ended: it writes into memory that others use."""
        try:
            for task in self._tasks:
                task.result()
        except BaseException:
            self.wait()
            raise
        if self._errors:
            error = self._errors[min(self._errors)]
            if isinstance(error, AdaptrtError):
                raise error
            raise core_failed(error) from error
        return self._results

    def _loop(self) -> None:
        while True:
            try:
                index = self._left.popleft()
            except IndexError:
                return
            try:
                self._results[index] = self._work(index)
            except Exception as error:
                self._errors[index] = error


def core_failed(error: Exception) -> PluginError:
    """OpenCV's own error, for a transform that it cannot compute."""
    return PluginError(
        f"core failed in preprocess: {type(error).__name__}: {error}", hint="Use --debug to show the full traceback."
    )


def _threads() -> tuple[ThreadPoolExecutor, int]:
    """The threads of this process for images, and how many: OpenCV and numpy release the interpreter lock."""
    global _pool
    with _pool_lock:
        count = min(_THREADS, _cores())
        if _pool is None:
            _pool = ThreadPoolExecutor(count, thread_name_prefix="adaptrt-images")
        return _pool, count


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # fewer than cpu_count() in a container that is limited to some
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _forget_threads() -> None:
    global _pool, _pool_lock
    _pool, _pool_lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):  # a forked process has no threads
    os.register_at_fork(after_in_child=_forget_threads)
