"""The lanes of one engine, lent to the threads that call it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from adaptrt.backends.tensorrt.runtime.engine import NoSharingError
from adaptrt.backends.tensorrt.runtime.lanes import Lane
from adaptrt.errors import EngineError

_PATIENCE = 60.0
_IN_TURN = 0.02  # seconds; a lane that is handed over rests until the other thread has woken up, which costs throughput


class _Waiter:
    """A thread without a lane. It is ``woken`` by unlocking its gate: unlike notifying a condition, this also works just before it sleeps."""

    def __init__(self) -> None:
        self.since = time.monotonic()
        self.woken = False
        self.gate = threading.Lock()
        self.gate.acquire()


class LanePool:
    """At most ``limit`` lanes, created on demand. The most recently used lane is lent first: it is warm.

    A thread may take a lane that was released while others wait, since they need time to wake up; but not if it is
    the turn of one that has waited for longer than ``_IN_TURN``.

    A lane whose outputs were borrowed stays with its thread until the thread's next call, or until the outputs have no
    references left.
    """

    def __init__(self, make: Callable[[], Lane], limit: int, name: str) -> None:
        self._make, self._limit, self._name = make, limit, name
        self._lock = threading.RLock()  # the garbage collector may end a loan inside of it
        self._ended = threading.Condition(self._lock)
        """Calls: ``close`` waits for them."""
        self._free: list[Lane] = []
        self._lent: dict[threading.Thread, tuple[Lane, object]] = {}
        """Not by the thread's number, which another thread gets once it has ended."""
        self._all: list[Lane] = []
        self._made = 0
        self._waiters: deque[_Waiter] = deque()
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
            if self._may_take(len(self._waiters)):
                return self._free.pop()
            has_room = self._made < self._limit
            self._made += has_room
        return self._new_lane() if has_room else self._wait()

    def acquire_free(self) -> Lane | None:
        """Another lane, for a thread that already has one: ``None`` instead of waiting, since its own might be the one to wait for."""
        with self._lock:
            self.require_open()
            if self._may_take(len(self._waiters)):
                return self._free.pop()
            if self._made >= self._limit:
                return None
            self._made += 1
        try:
            return self._create()
        except NoSharingError:
            return None

    def _may_take(self, ahead: int) -> bool:
        """Whether there is a free lane for a thread behind so many that wait."""
        free = len(self._free)
        return free > ahead or (free > 0 and self._waiters[free - 1].since > time.monotonic() - _IN_TURN)

    def _wait(self) -> Lane:
        """For a lane, or for room for another one."""
        own, awake, in_time = _Waiter(), False, True
        deadline = own.since + (0 if self._in_vain else _PATIENCE)
        try:
            with self._lock:
                self._waiters.append(own)
            while True:
                with self._lock:
                    if awake:
                        own.woken = False  # not before: a lane released meanwhile wakes another thread
                    self.require_open()
                    if self._may_take(self._waiters.index(own)):
                        self._leave(own)
                        return self._free.pop()
                    if self._made < self._limit:
                        self._leave(own)
                        self._made += 1
                        break
                    if not in_time:
                        raise self._busy()
                awake = in_time = own.gate.acquire(timeout=max(0, deadline - time.monotonic()))
        except BaseException:  # Ctrl-C may come at any point, also when a lane was meant for this thread
            with self._lock:
                if own in self._waiters:
                    self._waiters.remove(own)
                self._wake()
            raise
        return self._new_lane()

    def _leave(self, own: _Waiter) -> None:
        """Wait no longer; a thread that was woken again leaves that to another."""
        self._waiters.remove(own)
        if own.woken:
            self._wake()

    def _busy(self) -> EngineError:
        self._in_vain = True
        return EngineError(
            f"All {self._limit} contexts of {self._name} have been busy for {_PATIENCE:.0f} s.",
            hint="Release borrowed outputs, or open the engine with more contexts: TensorRTRunner(path, contexts=8)",
        )

    def _wake(self) -> None:
        """The thread that has waited for the longest time, of those that sleep. With the lock held."""
        if self._closed:
            self._ended.notify_all()
            return
        for waiter in self._waiters:
            if not waiter.woken:
                waiter.woken = True
                waiter.gate.release()
                return

    def release(self, lane: Lane) -> None:
        with self._lock:
            try:
                self._free.append(lane)
                self._in_vain = False
                self._wake()
            except BaseException:  # Ctrl-C: others wait for it
                self._wake()
                raise

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
        self._ended = threading.Condition(self._lock)
        self._closed = self._forked = True

    def close(self) -> None:
        """Wait for calls in progress, then free all lanes."""
        with self._lock:
            if self._forked:
                return
            for _ in range(len(self._waiters)):
                self._wake()
            self._closed = True
            while len(self._free) + len(self._lent) < self._made:
                self._ended.wait(_PATIENCE)
            lanes, self._all, self._made = self._all, [], 0
            self._free.clear()
            self._lent.clear()
            for lane in lanes:
                lane.close()
            self._ended.notify_all()

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
                self._wake()
                self.warnings.append(
                    f"{self._name} was built without profile sharing: one context per profile, so calls are serialized."
                )
            raise
        except BaseException:
            with self._lock:
                self._made -= 1
                self._wake()
            raise
        with self._lock:
            self._all.append(lane)
        return lane
