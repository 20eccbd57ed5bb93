"""Calls with one image, of many threads: one thread runs them, several at once and each alone, and decodes.

Threads that take turns at the interpreter lock need much more of the processor for the same Python: decoding takes
longer in eight threads than in one (``benchmarks/inference/thread_ways.py``).
"""

from __future__ import annotations

import atexit
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from adaptrt.forks import prepare_forks
from adaptrt.pipeline.runner_batches import Written

if TYPE_CHECKING:
    from adaptrt.pipeline.batches import BatchResult, Known
    from adaptrt.pipeline.runner_batches import RunnerBatches, Started

_IDLE = 1.0  # seconds without a call, after which the thread ends
_AHEAD = 2  # images that are written while others run
_ENDING = 10.0  # seconds for the runs in progress when the interpreter ends


class _Call:
    """An image that its thread has ``written``, or that the other writes. Its thread waits for ``ended``."""

    __slots__ = ("ended", "error", "image", "known", "result", "written")

    def __init__(self, image: Written | Sequence[Any], known: Known) -> None:
        self.image, self.known = image, known
        self.written = image if isinstance(image, Written) else None
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
        self._stopped = False
        self.forked()
        _all[id(self)] = self
        prepare_forks(self)

    def forked(self) -> None:
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def result(self, image: Written | Sequence[Any], known: Known) -> BatchResult | None:
        """Wait for the result of one image; ``None``: the CPU has to preprocess."""
        call = _Call(image, known)
        with self._lock:
            if self._stopped:
                raise RuntimeError("the interpreter is ending")
            if self._thread is None:
                try:
                    self._thread = threading.Thread(target=self._run, name="adaptrt-calls", daemon=True)
                    self._thread.start()
                except BaseException:  # Ctrl-C: the thread ends if it has begun
                    self._thread = None
                    raise
            self._calls.put(call)
        call.ended.acquire()
        try:
            if call.error is not None:
                raise call.error
        finally:
            call.error = None  # its traceback refers to this frame
        return call.result() if callable(call.result) else call.result  # type: ignore[no-any-return]

    def stop(self) -> None:
        """Wait for the runs in progress; no further call is run."""
        with self._lock:
            self._stopped, thread = True, self._thread
        if thread is not None:
            self._calls.put(None)
            thread.join(_ENDING)

    def _run(self) -> None:
        with self._lock:
            if self._thread is not threading.current_thread():
                return
        ready: deque[_Call] = deque()
        running: deque[tuple[_Call, Started]] = deque()
        while not self._stopped and (self._take(ready, running) or running):
            if running:
                self._end(ready, running)
        for _, started in running:
            started.run.close()

    def _take(self, ready: deque[_Call], running: deque[tuple[_Call, Started]]) -> bool:
        """Write the images of calls that came in, and start them; whether there was one."""
        self._start(ready, running, wait=not running)
        call = self._next_call(wait=not running)
        found = call is not None
        while call is not None:
            if self._is_written(call):
                ready.append(call)
                self._start(ready, running, wait=not running)
            call = self._next_call() if len(ready) < _AHEAD else None
        return found

    def _end(self, ready: deque[_Call], running: deque[tuple[_Call, Started]]) -> None:
        """Wait for the oldest run, and start another one before its outputs are decoded."""
        call, started = running.popleft()
        decode = self._ended(call, started)
        self._start(ready, running, wait=False)
        if decode is not None:
            self._answer(call, decode)

    def _next_call(self, *, wait: bool = False) -> _Call | None:
        if not self._calls.empty():  # no other thread takes calls
            return self._calls.get_nowait()
        return self._wait_for_call() if wait else None

    def _is_written(self, call: _Call) -> bool:
        """Write its image, unless its thread did; ``False``: it has ended."""
        try:
            if call.written is None:
                call.written = self._batches.write(call.image, call.known)
        except BaseException as error:
            call.fail(error)
            return False
        if call.written is None:
            call.ended.release()
        return call.written is not None

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

    def _start(self, ready: deque[_Call], running: deque[tuple[_Call, Started]], *, wait: bool) -> None:
        """Start calls while there are contexts; ``wait`` for the first."""
        while ready:
            call = ready[0]
            assert call.written is not None
            try:
                started = self._batches.start(call.written, call.known, wait=wait)
            except BaseException as error:
                call.fail(error)
            else:
                if started is None:
                    return
                running.append((call, started))
                wait = False
            ready.popleft()

    def _ended(self, call: _Call, started: Started) -> Callable[[], BatchResult] | None:
        """Wait for the outputs."""
        try:
            return self._batches.ended(started, call.known)
        except BaseException as error:
            call.fail(error)
            return None

    def _answer(self, call: _Call, decode: Callable[[], BatchResult]) -> None:
        """Decode; where plugins take part, the thread of the call does it."""
        try:
            call.result = decode if call.known.own_hooks else decode()
        except BaseException as error:
            call.error = error
        call.ended.release()


_all: weakref.WeakValueDictionary[int, CallThread] = weakref.WeakValueDictionary()


@atexit.register
def _stop_all() -> None:
    """The interpreter must not end while a thread is in a call of CUDA, after Ctrl-C in the call that waits for it."""
    for reference in _all.valuerefs():  # a copy, since daemon threads may still load models
        one = reference()
        if one is not None:
            one.stop()
