"""Calls of several threads, joined into batches: those that begin while others run wait, and then run together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from adaptrt.forks import prepare_forks
from adaptrt.specs.runners import is_on_device

if TYPE_CHECKING:
    from adaptrt.pipeline.batches import BatchResult
    from adaptrt.specs import ModelSpec

Finish = Callable[[], "BatchResult"]
_ANY_SIZE = 8  # larger batches are multiples of it: a context keeps so many CUDA graphs, one for each size


class _Call:
    """One image. Its thread waits for ``woken``: then there is a result, an error, or a batch for it to run."""

    __slots__ = ("error", "given", "result", "spec", "woken")

    def __init__(self, image: Any, spec: ModelSpec) -> None:
        self.given = image
        self.spec = spec
        self.result: BatchResult | None = None
        self.error: Exception | None = None
        self.woken = threading.Lock()
        self.woken.acquire()

    @property
    def answered(self) -> bool:
        return self.result is not None or self.error is not None

    def wake(self) -> None:
        """Let its thread continue; again has no effect."""
        try:  # noqa: SIM105 - suppress takes longer
            self.woken.release()
        except RuntimeError:
            pass


_Batch = tuple[_Call, ...]
"""Its first call leads it: the thread of that call runs the batch."""


class _State(NamedTuple):
    """Where every call is. It changes by one assignment, which Ctrl-C does not divide."""

    waiting: _Batch = ()
    """The one that has waited longest is the first."""
    beginning: _Batch = ()
    running: tuple[_Batch, ...] = ()


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
        self._state = _State()
        self._lock = threading.Lock()

    @property
    def idle(self) -> bool:
        """Whether no call is in progress."""
        return not any(self._state)

    def __call__(self, image: Any, spec: ModelSpec) -> BatchResult:
        """The result for one image; its timing and problems are those of the batch."""
        own, state = _Call(image, spec), self._state
        if self._ahead is not None and (state.beginning or state.running or is_on_device(image)):
            own.given = self._ahead(image, spec)
        led: _Batch = ()
        try:
            if not self._leads(own):
                own.woken.acquire()
            led = self._led_by(own)
            if led:
                self._lead(led)
        except BaseException:  # Ctrl-C
            self._withdraw(own, led)
            raise
        try:
            if own.error is not None:
                raise own.error
        finally:
            own.error = None  # its traceback refers to this frame
        assert own.result is not None
        self._ended(own.given, image)
        return own.result

    def _leads(self, own: _Call) -> bool:
        """Add a call, and wake the leader of the next batch, if one is due; whether that is this call."""
        with self._lock:
            state = self._state
            leader = self._change((*state.waiting, own), state.beginning, state.running, awake=own)
        if leader is not None and leader is not own:
            leader.wake()
        return leader is own

    def _led_by(self, own: _Call) -> _Batch:
        """The batch that this call's thread has to run."""
        batch = self._state.beginning
        return batch if batch and batch[0] is own else ()

    def _withdraw(self, own: _Call, led: _Batch) -> None:
        """Remove a call whose thread goes on without it, wherever it is. Calls of its batch that have no answer wait again."""
        with self._lock:
            state, led = self._state, led or self._led_by(own)
            waiting = (*(one for one in led[1:] if not one.answered), *(one for one in state.waiting if one is not own))
            beginning = () if led is state.beginning else state.beginning
            self._change(waiting, beginning, tuple(one for one in state.running if one is not led))
            woken = (*self._state.beginning[:1], *(one for one in led if one.answered))
        for one in woken:  # the leader also if it is not new: it may not have been woken
            one.wake()

    def _change(
        self, waiting: _Batch, beginning: _Batch, running: tuple[_Batch, ...], awake: _Call | None = None
    ) -> _Call | None:
        """Set the state, after the calls for the next batch have been taken, if one is due; its leader. With the lock held.

        The leader is the call that has waited longest, or ``awake``, whose thread is, if they can run together.
        """
        ahead, leader = sum(map(len, running)), None
        if not beginning and waiting and len(running) < self._at_once and len(waiting) >= ahead:
            first = waiting[0]
            leader = awake if awake is not None and awake.spec is first.spec else first
            share = -(-(len(waiting) + ahead) // self._at_once)
            beginning = self._alike(leader, waiting, min(share, self._size))
            waiting = tuple(one for one in waiting if one not in beginning)
        self._state = _State(waiting, beginning, running)
        return leader

    @staticmethod
    def _alike(leader: _Call, waiting: _Batch, most: int) -> _Batch:
        """A leader, and those that can run together with it."""
        others = [one for one in waiting if one.spec is leader.spec and one is not leader]
        if most > _ANY_SIZE:
            most = min(most, 1 + len(others))
            most -= most % _ANY_SIZE if most > _ANY_SIZE else 0
        return (leader, *others[: most - 1])

    def _lead(self, batch: _Batch) -> None:
        """Run a batch, after whose beginning another thread may begin the next."""
        try:
            try:
                finish = self._begin([one.given for one in batch], batch[0].spec)
            finally:
                self._has_begun(batch)
            self._answer(batch, finish)
        except Exception as error:
            self._answer_each(batch, error)
        self._has_ended(batch)

    def _has_begun(self, batch: _Batch) -> None:
        with self._lock:
            state = self._state
            leader = self._change(state.waiting, (), (*state.running, batch))
        if leader is not None:
            leader.wake()

    def _has_ended(self, batch: _Batch) -> None:
        """Wake the next leader, and those that have an answer."""
        with self._lock:
            state = self._state
            leader = self._change(
                state.waiting, state.beginning, tuple(one for one in state.running if one is not batch)
            )
        if leader is not None:
            leader.wake()
        for one in batch[1:]:
            one.wake()

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
