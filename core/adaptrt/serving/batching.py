"""Runs the images of concurrent requests on one thread, joined into batches."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from adaptrt.errors import AdaptrtError, UsageError

if TYPE_CHECKING:
    from adaptrt.pipeline.batches import Timing
    from adaptrt.pipeline.load import Model
    from adaptrt.predictions import Predictions
    from adaptrt.vision.images import ImageArray


class StoppingError(AdaptrtError):
    """The server ends and accepts no more images."""


@dataclass(frozen=True, eq=False)
class _Waiting:
    image: ImageArray
    params: Mapping[str, Any]
    answer: Future[Predictions] = field(default_factory=Future)


class Batcher:
    """Joins at most ``size`` images that use the same parameters; the first of them waits at most ``delay`` seconds for others.

    With ``size`` 1, each image runs alone, so that its result does not depend on others. ``ran`` is called after each batch
    with its number of images and its time.
    """

    def __init__(self, model: Model, *, size: int, delay: float, ran: Callable[[int, Timing], None]) -> None:
        largest = model.largest_batch
        if not 1 <= size <= largest:
            raise UsageError(f"--max-batch must be 1 to {largest} for {model.path.name}; got {size}.")
        self._model, self._size, self._delay, self._ran = model, size, delay, ran
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="adaptrt-serve", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Images that no batch has yet."""
        return len(self._waiting)

    def submit(self, image: ImageArray, params: Mapping[str, Any]) -> Future[Predictions]:
        """The future prediction for an image. Raises ``StoppingError`` after ``close``."""
        one = _Waiting(image, dict(params))
        with self._changed:
            if self._closed:
                raise StoppingError("The server is stopping.", hint="Send the request again later.")
            self._waiting.append(one)
            self._changed.notify_all()
        return one.answer

    def close(self) -> None:
        """Accept no more images, answer those that wait, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _work(self) -> None:
        while batch := self._next():
            self._answer(batch)

    def _next(self) -> list[_Waiting]:
        """The next batch, oldest image first; empty at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if not self._waiting:
                return []
            deadline = time.monotonic() + self._delay
            self._changed.wait_for(
                lambda: self._closed or len(self._alike()) == self._size, max(0.0, deadline - time.monotonic())
            )
            batch = self._alike()
            chosen = set(map(id, batch))
            self._waiting = deque(one for one in self._waiting if id(one) not in chosen)
            return batch

    def _alike(self) -> list[_Waiting]:
        """The images that can run together with the oldest one."""
        params = self._waiting[0].params
        return [one for one in self._waiting if one.params == params][: self._size]

    def _answer(self, batch: list[_Waiting]) -> None:
        try:
            predictions, timing = self._model.timed([one.image for one in batch], **batch[0].params)
        except Exception as error:
            if len(batch) == 1:
                batch[0].answer.set_exception(error)
                return
            for one in batch:  # so that only the image that causes the error gets it
                self._answer([one])
            return
        self._ran(len(batch), timing)
        for one, prediction in zip(batch, predictions, strict=True):
            one.answer.set_result(prediction)
