"""Calls of several threads, joined into batches: those that begin while others run wait, and then run together."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from adaptrt.forks import prepare_forks
from adaptrt.specs.runners import is_on_device

if TYPE_CHECKING:
    from adaptrt.pipeline.batches import BatchResult
    from adaptrt.specs import ModelSpec

Finish = Callable[[], "BatchResult"]
_ANY_SIZE = 8  # larger batches are multiples of it: a context keeps so many CUDA graphs, one for each size


class _Call:
    """One image. Its thread waits for ``woken``: then there is a result, an error, or a ``batch`` for it to run."""

    __slots__ = ("batch", "error", "given", "result", "spec", "woken")

    def __init__(self, image: Any, spec: ModelSpec) -> None:
        self.given = image
        self.spec = spec
        self.result: BatchResult | None = None
        self.error: Exception | None = None
        self.batch: list[_Call] = []
        self.woken = threading.Lock()
        self.woken.acquire()

    @property
    def answered(self) -> bool:
        return self.result is not None or self.error is not None


class JoinedCalls:
    """Runs calls with one image each, of several threads, in batches of at most ``size`` that have the same spec.

    ``begin`` starts a batch and returns what waits for its result; one thread at a time calls it. ``at_once``: so many batches run at
    once, since one is decoded while the other is on a GPU. ``ahead`` prepares the image of a call that will wait, and each one on a GPU, in its
    thread, and returns it for ``begin``; ``ended`` gets it, and the image, once there is a result.

    A call runs at once, alone, if nothing is in progress. Beside a batch that runs, another begins when as many calls wait as that one
    has, so that both have half of the threads: smaller batches would take more of the interpreter lock for each image.
    """

    def __init__(
        self,
        begin: Callable[[Sequence[Any], ModelSpec], Finish],
        size: int,
        *,
        at_once: int = 1,
        ahead: Callable[[Any, ModelSpec], Any] | None = None,
        ended: Callable[[Any, Any], None] = lambda given, image: None,  # noqa: ARG005
    ) -> None:
        self._begin, self._size, self._at_once, self._ahead, self._ended = begin, size, at_once, ahead, ended
        self.forked()
        prepare_forks(self)

    def forked(self) -> None:
        self._waiting: deque[_Call] = deque()
        self._beginning = False
        self._running: list[int] = []
        """Calls of each batch that was begun."""
        self._lock = threading.Lock()

    @property
    def idle(self) -> bool:
        """Whether no call is in progress."""
        return not (self._beginning or self._running or self._waiting)

    def __call__(self, image: Any, spec: ModelSpec) -> BatchResult:
        """The result for one image; its timing and problems are those of the batch."""
        own = _Call(image, spec)
        if self._ahead is not None and (self._beginning or self._running or is_on_device(image)):
            own.given = self._ahead(image, spec)
        with self._lock:
            self._waiting.append(own)
            leader = self._next_leader(own)
        if leader is not own:
            if leader is not None:
                leader.woken.release()
            self._wait(own)
        if own.batch:
            self._lead(own)
        try:
            if own.error is not None:
                raise own.error
        finally:
            own.error = None  # its traceback refers to this frame
        assert own.result is not None
        self._ended(own.given, image)
        return own.result

    def _wait(self, own: _Call) -> None:
        try:
            own.woken.acquire()
        except BaseException:  # Ctrl-C: no thread would run the batch that this one was to run
            with self._lock:
                if own in self._waiting:
                    self._waiting.remove(own)
                leads = bool(own.batch)
                if leads:
                    self._beginning = False
            if leads:
                self._pass_on([one for one in own.batch if one is not own])
            raise

    def _next_leader(self, own: _Call | None = None) -> _Call | None:
        """The call whose thread begins the next batch, which it gets, if one is due. With the lock held.

        It is the one that has waited longest, or ``own``, whose thread is awake, if they can run together.
        """
        if self._beginning or not self._waiting:
            return None
        running = sum(self._running)
        if len(self._running) >= self._at_once or len(self._waiting) < running:
            return None
        first = self._waiting[0]
        leader = own if own is not None and own.spec is first.spec else first
        share = -(-(len(self._waiting) + running) // self._at_once)
        leader.batch = self._alike(leader, min(share, self._size))
        self._beginning = True
        return leader

    def _alike(self, leader: _Call, most: int) -> list[_Call]:
        """Take a leader, and those that can run together with it. With the lock held."""
        if most > _ANY_SIZE:
            count = sum(one.spec is leader.spec for one in self._waiting)
            most = min(most, count)
            most -= most % _ANY_SIZE if most > _ANY_SIZE else 0
        found = [leader]
        for one in self._waiting:
            if len(found) == most:
                break
            if one is not leader and one.spec is leader.spec:
                found.append(one)
        for one in found:
            self._waiting.remove(one)
        return found

    def _lead(self, own: _Call) -> None:
        """Run a batch with this call, after whose beginning another thread may begin the next."""
        batch, running = own.batch, False
        try:
            try:
                finish = self._begin([one.given for one in batch], own.spec)
            finally:
                with self._lock:
                    self._beginning, running = False, True
                    self._running.append(len(batch))
                    leader = self._next_leader()
                if leader is not None:
                    leader.woken.release()
            self._answer(batch, finish)
        except Exception as error:
            self._answer_each(batch, error)
        finally:
            if running:
                with self._lock:
                    self._running.remove(len(batch))
            self._pass_on([one for one in batch if one is not own])

    def _pass_on(self, others: Sequence[_Call]) -> None:
        """Wake the next leader, and those that have an answer; after Ctrl-C some have none, and wait again."""
        with self._lock:
            self._waiting.extendleft(one for one in reversed(others) if not one.answered)
            leader = self._next_leader()
        if leader is not None:
            leader.woken.release()
        for one in others:
            if one.answered:
                one.woken.release()

    def _answer(self, batch: Sequence[_Call], finish: Finish) -> None:
        result = finish()
        for one, prediction in zip(batch, result.predictions, strict=True):
            one.result = result._replace(predictions=[prediction])

    def _answer_each(self, batch: Sequence[_Call], error: Exception) -> None:
        """Only the image that causes an error gets it."""
        if len(batch) == 1:
            batch[0].error = error
            return
        for one in batch:
            try:
                self._answer([one], self._begin([one.given], one.spec))
            except Exception as own:
                one.error = own
