"""Calls of several threads, joined into batches: those that begin while others run wait, and then run together."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adaptrt.pipeline.batches import BatchResult
    from adaptrt.specs import ModelSpec

_LEADERS = 1  # batches at once: with two or three, batches are smaller, and threads take the interpreter lock from each other (measured)
_ANY_SIZE = 8  # larger batches are multiples of it: a context keeps so many CUDA graphs, one for each size


class _Call:
    """One image. Its thread waits for ``woken``: then there is a result, an error, or a batch for it to run."""

    __slots__ = ("error", "image", "leads", "result", "spec", "woken")

    def __init__(self, image: Any, spec: ModelSpec) -> None:
        self.image, self.spec = image, spec
        self.result: BatchResult | None = None
        self.error: Exception | None = None
        self.leads = False
        self.woken = threading.Lock()
        self.woken.acquire()

    @property
    def answered(self) -> bool:
        return self.result is not None or self.error is not None


class JoinedCalls:
    """Runs calls with one image each, of several threads, in batches of at most ``size`` that have the same spec.

    Nothing waits for calls that have not begun: a call runs at once, alone, unless a batch is in progress. The thread of the call that
    has waited longest runs the next batch.
    """

    def __init__(self, run: Callable[[Sequence[Any], ModelSpec], BatchResult], size: int) -> None:
        self._run, self._size = run, size
        self._waiting: deque[_Call] = deque()
        self._leaders = 0
        self._lock = threading.Lock()

    def __call__(self, image: Any, spec: ModelSpec) -> BatchResult:
        """The result for one image; its timing and problems are those of the batch."""
        own = _Call(image, spec)
        with self._lock:
            own.leads = self._leaders < _LEADERS
            if own.leads:
                self._leaders += 1
            else:
                self._waiting.append(own)
        if not own.leads:
            self._wait(own)
        if own.leads:
            self._lead(own)
        if own.error is not None:
            raise own.error
        assert own.result is not None
        return own.result

    def _wait(self, own: _Call) -> None:
        try:
            own.woken.acquire()
        except BaseException:  # Ctrl-C: no thread would run the batch that this one was to run
            with self._lock:
                if own in self._waiting:
                    self._waiting.remove(own)
            if own.leads:
                self._pass_on([])
            raise

    def _lead(self, own: _Call) -> None:
        """Run a batch with this call, then leave the next one to another thread."""
        batch = [own]
        try:
            with self._lock:
                batch += self._alike(own.spec)
            self._answer(batch)
        finally:
            self._pass_on([one for one in batch if one is not own])

    def _pass_on(self, others: Sequence[_Call]) -> None:
        """Wake the next leader, and those that have an answer; after Ctrl-C some have none, and wait again."""
        with self._lock:
            self._waiting.extendleft(one for one in reversed(others) if not one.answered)
            following = self._waiting.popleft() if self._waiting else None
            if following is None:
                self._leaders -= 1
            else:
                following.leads = True
        if following is not None:
            following.woken.release()
        for one in others:
            if one.answered:
                one.woken.release()

    def _alike(self, spec: ModelSpec) -> list[_Call]:
        """Take those that can run together with a call that has this spec. With the lock held."""
        found = [one for one in self._waiting if one.spec is spec][: self._size - 1]
        count = len(found) + 1
        if count > _ANY_SIZE:
            del found[count - count % _ANY_SIZE - 1 :]
        for one in found:
            self._waiting.remove(one)
        return found

    def _answer(self, batch: Sequence[_Call]) -> None:
        try:
            result = self._run([one.image for one in batch], batch[0].spec)
        except Exception as error:
            if len(batch) == 1:
                batch[0].error = error
            else:  # only the image that causes the error gets it
                for one in batch:
                    self._answer([one])
            return
        for one, prediction in zip(batch, result.predictions, strict=True):
            one.result = result._replace(images=[one.image], predictions=[prediction])
