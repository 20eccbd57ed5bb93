"""Work on images and arrays, on several threads: OpenCV and numpy release the interpreter lock.

A thread needs the lock between two pieces of work, and to hand it over takes as long as to copy a small image: a piece should be one
call into a library, and few threads take many pieces, rather than the other way round.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from queue import SimpleQueue
from typing import Any

from adaptrt.errors import AdaptrtError, PluginError

Job = Callable[[], Any]
_THREADS = 8
_COPYING = 8  # threads that copy memory: one reaches a fifth of the bandwidth that so many reach together (measured on an H100)
_pool_lock = threading.Lock()
_pool: _Workers | None = None


class Spread:
    """Jobs on several threads (a single one in the calling thread). ``finished`` waits for them, and helps until then.

    Only the jobs of workers are counted: Ctrl-C reaches the calling thread anywhere, also between taking a job and counting it.
    """

    def __init__(self, jobs: Sequence[Job], threads: int = _THREADS) -> None:
        self._jobs = deque(enumerate(jobs))
        self._errors: dict[int, Exception] = {}
        self._lock = threading.Lock()
        self._busy = 0
        """Workers with one of the jobs."""
        self._ended: threading.Lock | None = None
        """Released when there are none, for a thread that waits."""
        if len(jobs) > 1:
            workers = _workers()
            workers.run(self._work, min(threads, len(jobs), workers.count))
        elif jobs:
            self._run(*self._jobs.pop())

    def wait(self) -> None:
        """Wait for the jobs that have begun, and drop the others."""
        self._jobs.clear()
        with self._lock:
            if not self._busy:
                return
            ended = self._ended = threading.Lock()
            ended.acquire()
        ended.acquire()

    def finished(self) -> None:
        """Return when all jobs have ended, since they write into memory that others use; the first error in order is raised."""
        try:
            while True:
                try:
                    job = self._jobs.popleft()
                except IndexError:
                    break
                self._run(*job)
            self.wait()
        except BaseException:
            self.wait()
            raise
        if self._errors:
            error = self._errors[min(self._errors)]
            if isinstance(error, AdaptrtError):
                raise error
            raise core_failed(error) from error

    def _work(self) -> None:
        """In a worker: all jobs that are left."""
        while True:
            with self._lock:
                try:
                    job = self._jobs.popleft()
                except IndexError:
                    return
                self._busy += 1
            try:
                self._run(*job)
            finally:
                with self._lock:
                    self._busy -= 1
                    if not self._busy and self._ended is not None:
                        self._ended.release()
                        self._ended = None

    def _run(self, index: int, job: Job) -> None:
        try:
            job()
        except Exception as error:
            self._errors[index] = error


def core_failed(error: Exception) -> PluginError:
    """OpenCV's own error, for a transform that it cannot compute."""
    return PluginError(
        f"core failed in preprocess: {type(error).__name__}: {error}", hint="Use --debug to show the full traceback."
    )


def helping_threads() -> int:
    """How many threads beside a caller that works too."""
    return max(min(_THREADS, _cores()) - 1, 1)


def copying_threads(callers: int) -> int:
    """How many threads copy memory for one of so many callers."""
    return max(min(_COPYING, _cores()) // max(callers, 1), 1)


class Callers:
    """Counts the calls in progress, which share the threads that copy. A list grows and shrinks without a lock."""

    def __init__(self) -> None:
        self._calls: list[None] = []

    @property
    def threads(self) -> int:
        """How many threads copy memory for each of them."""
        return copying_threads(len(self._calls))

    def __enter__(self) -> int:
        """How many there are now."""
        self._calls.append(None)
        return len(self._calls)

    def __exit__(self, *_: object) -> None:
        self._calls.pop()


class _Workers:
    """Threads that wait for work; a queue costs a tenth of what an executor with its futures does."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"adaptrt-workers_{index}", daemon=True) for index in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def run(self, loop: Job, count: int) -> None:
        """Call ``loop``, which raises nothing, in ``count`` threads."""
        for _ in range(count):
            self._queue.put(loop)

    def stop(self) -> None:
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (loop := self._queue.get()) is not None:
            loop()
            del loop  # it holds arrays


def _workers() -> _Workers:
    """The threads of this process."""
    global _pool
    with _pool_lock:
        if _pool is None:
            _pool = _Workers(min(_THREADS, _cores()))
        return _pool


@lru_cache(maxsize=1)
def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # fewer than cpu_count() in a container that is limited to some
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _forget_threads() -> None:
    global _pool, _pool_lock
    _pool, _pool_lock = None, threading.Lock()


@atexit.register
def _stop_threads() -> None:
    """The interpreter must not end while one of them writes into an array."""
    if _pool is not None:
        _pool.stop()


if hasattr(os, "register_at_fork"):  # a forked process has no threads
    os.register_at_fork(after_in_child=_forget_threads)
