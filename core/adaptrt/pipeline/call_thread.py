"""Calls with one image, of many threads: one thread runs them, several at once and each alone, and decodes.

Threads that take turns at the interpreter lock are slow: each starts with cold caches, and NumPy gives the lock away in the
middle of the work. Decoding takes two to three times as long in eight threads as in one.
"""

from __future__ import annotations

import threading
from collections import deque
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adaptrt.pipeline.batches import BatchResult, Known
    from adaptrt.pipeline.runner_batches import RunnerBatches, Started, Written

_IDLE = 1.0  # seconds without a call, after which the thread ends


class _Call:
    """An image that is ready to run; its thread waits for ``ended``."""

    __slots__ = ("ended", "error", "known", "result", "written")

    def __init__(self, written: Written, known: Known) -> None:
        self.written, self.known = written, known
        self.ended = threading.Lock()
        self.ended.acquire()
        self.result: Any = None
        self.error: BaseException | None = None

    def fail(self, error: BaseException) -> None:
        self.error = error
        self.ended.release()


class CallThread:
    """The thread that runs calls of others. It begins with a call, and ends when there are none for a while."""

    def __init__(self, batches: RunnerBatches) -> None:
        self._batches = batches
        self._calls: SimpleQueue[_Call] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def result(self, written: Written, known: Known) -> BatchResult:
        """Wait for the result of one image."""
        call = _Call(written, known)
        with self._lock:
            self._calls.put(call)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="adaptrt-calls", daemon=True)
                self._thread.start()
        call.ended.acquire()
        if call.error is not None:
            raise call.error
        return call.result() if known.own_hooks else call.result  # type: ignore[no-any-return]

    def _run(self) -> None:
        running: deque[tuple[_Call, Started]] = deque()
        call: _Call | None = None
        while running or call is not None or (call := self._wait_for_call()) is not None:
            call = self._start(call, running)
            if running:
                self._finish(*running.popleft())

    def _wait_for_call(self) -> _Call | None:
        """``None``: there was none for a while, and the next one begins another thread."""
        try:
            return self._calls.get(timeout=_IDLE)
        except Empty:
            with self._lock:
                if self._calls.empty():
                    self._thread = None
                    return None
        return self._calls.get()

    def _start(self, call: _Call | None, running: deque[tuple[_Call, Started]]) -> _Call | None:
        """Start ``call`` and those that came in; returns one for which there is no context now."""
        while True:
            if call is None:
                try:
                    call = self._calls.get_nowait()
                except Empty:
                    return None
            try:
                started = self._batches.start(call.written, call.known, wait=not running)
            except BaseException as error:
                call.fail(error)
            else:
                if started is None:
                    return call
                running.append((call, started))
            call = None

    def _finish(self, call: _Call, started: Started) -> None:
        """Wait for the outputs, and decode them; where plugins decode, the thread of the call does it."""
        try:
            decoded = self._batches.ended(started, call.known)
            call.result = decoded if call.known.own_hooks else decoded()
        except BaseException as error:
            call.error = error
        call.ended.release()
