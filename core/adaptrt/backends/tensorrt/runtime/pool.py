"""The lanes of one engine, lent to the threads that call it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from adaptrt.backends.tensorrt.runtime.engine import NoSharingError
from adaptrt.backends.tensorrt.runtime.lanes import Lane
from adaptrt.errors import EngineError

_PATIENCE = 60.0


class LanePool:
    """At most ``limit`` lanes, created on demand. The most recently used lane is lent first: it is warm.

    A lane whose outputs were borrowed stays with its thread until the thread's next call, or until the outputs have no
    references left.
    """

    def __init__(self, make: Callable[[], Lane], limit: int, name: str) -> None:
        self._make, self._limit, self._name = make, limit, name
        self._lock = threading.RLock()  # the garbage collector may end a loan inside of it
        self._freed = threading.Condition(self._lock)
        self._free: list[Lane] = []
        self._lent: dict[threading.Thread, tuple[Lane, object]] = {}
        """Not by the thread's number, which another thread gets once it has ended."""
        self._all: list[Lane] = []
        self._made = 0
        self._waiting = 0
        """Threads that wait for a lane, and get one before others: else a thread would take back what it has released, again and again."""
        self._in_vain = False
        """Whether a thread has waited in vain since a lane was released: others need not, one after another in the thread of their calls."""
        self._closed = self._forked = False
        self.warnings: list[str] = []

    @property
    def lanes(self) -> tuple[Lane, ...]:
        return tuple(self._all)

    def acquire(self) -> Lane:
        with self._lock:
            self.require_open()
            if self._lent:
                lent = self._lent.pop(threading.current_thread(), None)
                if lent is not None:
                    return lent[0]
            deadline, ahead = None, self._waiting
            while len(self._free) <= ahead:
                if self._made < self._limit:
                    self._made += 1
                    break
                deadline = deadline or time.monotonic() + (0 if self._in_vain else _PATIENCE)
                ahead = 0
                if not self._wait(deadline - time.monotonic()):
                    self._in_vain = True
                    raise EngineError(
                        f"All {self._limit} contexts of {self._name} have been busy for {_PATIENCE:.0f} s.",
                        hint="Release borrowed outputs, or allow more contexts: contexts=8",
                    )
                self.require_open()
            else:
                return self._free.pop()
        return self._new_lane()

    def acquire_free(self) -> Lane | None:
        """Another lane, for a thread that already has one: ``None`` instead of waiting, since its own might be the one to wait for."""
        with self._lock:
            self.require_open()
            if len(self._free) > self._waiting:
                return self._free.pop()
            if self._made >= self._limit:
                return None
            self._made += 1
        try:
            return self._create()
        except NoSharingError:
            return None

    def _wait(self, seconds: float) -> bool:
        """For a lane, with the lock held; ``False``: in vain."""
        self._waiting += 1
        try:
            return self._freed.wait(seconds)
        except BaseException:  # Ctrl-C, perhaps after this thread was notified
            self._freed.notify()
            raise
        finally:
            self._waiting -= 1

    def release(self, lane: Lane) -> None:
        with self._lock:
            self._free.append(lane)
            self._in_vain = False
            self._freed.notify()

    def lend(self, lane: Lane, loan: object) -> None:
        """Leave the lane with the calling thread, until its next call or ``end_loan``."""
        with self._lock:
            self._lent[threading.current_thread()] = (lane, loan)

    def has_loan(self) -> bool:
        """Whether the next call of this thread gets the lane that it has."""
        return bool(self._lent) and threading.current_thread() in self._lent

    def end_loan(self, thread: threading.Thread, loan: object) -> None:
        """No-op if the thread has made another call since: that call ended this loan."""
        with self._lock:
            lane, latest = self._lent.get(thread, (None, None))
            if lane is not None and latest is loan:
                del self._lent[thread]
                self.release(lane)

    def require_open(self) -> None:
        if not self._closed:
            return
        if self._forked:
            raise EngineError(
                f"{self._name} was loaded before this process was forked, and CUDA does not work in forked processes.",
                hint="Start the process with multiprocessing.get_context('spawn'), and load the model there.",
            )
        raise EngineError(f"{self._name} has been closed.", hint="Load it again: adaptrt.load(...)")

    def forked(self) -> None:
        """In a forked process, where no lane can be used or freed."""
        self._lock = threading.RLock()
        self._freed = threading.Condition(self._lock)
        self._closed = self._forked = True

    def close(self) -> None:
        """Wait for calls in progress, then free all lanes."""
        with self._lock:
            if self._forked:
                return
            self._closed = True
            self._freed.notify_all()
            while len(self._free) + len(self._lent) < self._made:
                self._freed.wait(_PATIENCE)
            lanes, self._all, self._made = self._all, [], 0
            self._free.clear()
            self._lent.clear()
            for lane in lanes:
                lane.close()
            self._freed.notify_all()

    def _new_lane(self) -> Lane:
        try:
            return self._create()
        except NoSharingError:
            return self.acquire()

    def _create(self) -> Lane:
        try:
            lane = self._make()
        except NoSharingError:
            with self._lock:
                self._made -= 1
                self._limit = self._made
                self._freed.notify()
                self.warnings.append(
                    f"{self._name} was built without profile sharing: one context per profile, so calls are serialized."
                )
            raise
        except BaseException:
            with self._lock:
                self._made -= 1
                self._freed.notify()
            raise
        with self._lock:
            self._all.append(lane)
        return lane
