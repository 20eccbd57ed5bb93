"""Frames of several sources, in batches."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace

from adaptrt.errors import ImageError
from adaptrt.sources.frames import Frame, Source

_TICK = 0.5  # seconds: an interrupt is seen at least this often
_ENDING = 2.0  # seconds for the threads that read: a device may hang, and its thread does not keep the process alive


class FrameStream:
    """Reads sources and joins their frames to batches.

    Without a live source, the sources take turns and every frame is used. With one, each source is read by its own thread: a new
    frame of a live source replaces one that has not been used (``Frame.dropped`` counts them), a file waits. A source that
    fails ends with a frame that has the ``error``; the others go on.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = tuple(sources)
        self.live = any(source.live for source in self.sources)
        self._condition = threading.Condition()
        self._closed = False

    def batches(self, size: int) -> Iterator[list[Frame]]:
        """Batches of up to ``size`` frames, until all sources have ended. A batch with live sources has at most one of each."""
        try:
            yield from self._newest(size) if self.live else self._in_turns(size)
        finally:
            self.close()

    def close(self) -> None:
        """Close all sources. May be called from another thread and more than once."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        for source in self.sources:
            source.close()

    def _in_turns(self, size: int) -> Iterator[list[Frame]]:
        with ExitStack() as stack:
            readers = [stack.enter_context(closing(_frames_and_error(source))) for source in self.sources]
            batch: list[Frame] = []
            while readers and not self._closed:
                for reader in list(readers):
                    frame = next(reader, None)
                    if frame is None:
                        readers.remove(reader)
                        continue
                    batch.append(frame)
                    if len(batch) == size:
                        yield batch
                        batch = []
            if batch and not self._closed:
                yield batch

    def _newest(self, size: int) -> Iterator[list[Frame]]:
        slots = [_Slot(source, self._condition) for source in self.sources]
        for slot in slots:
            slot.start()
        first = 0
        try:
            while True:
                with self._condition:
                    _raise_failure(slots)
                    while not self._closed and not any(slot.frame for slot in slots):
                        if all(slot.ended for slot in slots):
                            return
                        self._condition.wait(_TICK)
                        _raise_failure(slots)
                    if self._closed:
                        return
                    turn = [*slots[first:], *slots[:first]]
                    first = (first + 1) % len(slots)  # if more sources than fit are ready, each gets its turn
                    batch = [slot.take() for slot in [slot for slot in turn if slot.frame][:size]]
                yield batch
        finally:
            self.close()
            for slot in slots:
                slot.join(timeout=_ENDING)


class _Slot(threading.Thread):
    """Reads a source into room for one frame."""

    def __init__(self, source: Source, condition: threading.Condition) -> None:
        super().__init__(name=f"adaptrt-source {source.name}", daemon=True)
        self.frame: Frame | None = None
        self.ended = False
        self.failure: BaseException | None = None
        self._source = source
        self._condition = condition
        self._dropped = 0
        self._stopped = False

    def take(self) -> Frame:
        frame, self.frame = self.frame, None
        assert frame is not None
        self._condition.notify_all()
        return replace(frame, dropped=self._dropped)

    def run(self) -> None:
        try:
            with closing(_frames_and_error(self._source)) as frames:
                for frame in frames:
                    if not self._put(frame):
                        return
        except BaseException as error:  # raised again in the thread that reads the batches
            self.failure = error
        finally:
            with self._condition:
                self.ended = True
                self._condition.notify_all()

    def _put(self, frame: Frame) -> bool:
        """Replace a frame of a live source; files, and errors, wait to be read. False: the stream was closed."""
        with self._condition:
            if self._source.live and frame.error is None and (self.frame is None or self.frame.error is None):
                self._dropped += self.frame is not None
            else:
                while self.frame is not None and not self._stopped:
                    self._condition.wait(_TICK)
            self.frame = frame
            self._condition.notify_all()
            return not self._stopped

    def stop(self) -> None:
        """Let it end, after the frame that it reads."""
        with self._condition:
            self._stopped = True
            self._condition.notify_all()
        self._source.close()

    def join(self, timeout: float | None = None) -> None:
        self.stop()
        super().join(timeout)


@atexit.register
def _end_threads() -> None:
    """The process would be aborted if Python ended while one of them is in OpenCV: who breaks out of a loop over results does not close them."""
    slots = [thread for thread in threading.enumerate() if isinstance(thread, _Slot)]
    for slot in slots:
        slot.stop()
    deadline = time.monotonic() + _ENDING
    for slot in slots:
        slot.join(max(0.0, deadline - time.monotonic()))


def _raise_failure(slots: Sequence[_Slot]) -> None:
    for slot in slots:
        if slot.failure is not None:
            raise slot.failure


def _frames_and_error(source: Source) -> Generator[Frame, None, None]:
    index = 0
    try:
        for frame in source.frames():
            index = frame.index + 1
            yield frame
    except ImageError as error:
        yield Frame(source=source.name, index=index, error=error)
