"""Batches of images for a runner that preprocesses them itself: written on several threads, in progress, and decoded."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from adaptrt.errors import AdaptrtError
from adaptrt.worker_threads import Callers, Spread, core_failed

if TYPE_CHECKING:
    from adaptrt.pipeline.batches import BatchResult, Known
    from adaptrt.predictions import ImageMeta
    from adaptrt.specs.runners import ImageBatch, PreparesImages, StartedRun

# batches into which threads write images: a batch waits for its last image, while threads go on with the next
_WRITTEN = 2


class Written(NamedTuple):
    """Images on the way into a batch of the runner; threads may still write some of them."""

    batch: ImageBatch
    metas: list[Any]
    writing: Spread | None
    started: float


class Started(NamedTuple):
    run: StartedRun
    metas: list[ImageMeta]
    seconds: float
    started: float


class RunnerBatches:
    """Takes batches through a runner. ``predicted`` postprocesses outputs."""

    def __init__(self, runner: PreparesImages, predicted: Callable[..., BatchResult]) -> None:
        self._runner, self._predicted = runner, predicted
        self._decode: Callable[[Sequence[Any]], Sequence[Any]] | None = getattr(runner, "decoded", None)
        self.has_loan: Callable[[], bool] = getattr(runner, "has_loan", lambda: False)
        self.calling = Callers()

    def stream(
        self, written: Written, rest: Iterator[Sequence[Any]], known: Known, *, ahead: bool
    ) -> Iterator[BatchResult]:
        """The runner preprocesses images, and runs while this thread, which is the only one, decodes and takes other images.

        The threads that copy images always have another batch to go on with, so that they do not wait for this one.
        """
        most = max(1, int(getattr(self._runner, "concurrent_images", 1))) if ahead else 1
        writing: deque[Written] = deque([written])
        running: deque[Started] = deque()
        try:
            while writing:
                if ahead:
                    self._write_up_to(_WRITTEN, writing, rest, known)
                while len(running) >= most:
                    yield self.decoded(running.popleft(), known)
                while (started := self.start(writing[0], known, wait=not running)) is None:
                    yield self.decoded(running.popleft(), known)
                writing.popleft()
                running.append(started)
                while not ahead and running:
                    yield self.decoded(running.popleft(), known)
                self._write_up_to(1, writing, rest, known)
            while running:
                yield self.decoded(running.popleft(), known)
        except Exception:
            while running:  # the error of an earlier batch comes first
                running.popleft().run.result()
            raise
        finally:
            for one in writing:
                if one.writing is not None:
                    one.writing.wait()
            for run in running:
                run.run.close()

    def _write_up_to(self, count: int, writing: deque[Written], rest: Iterator[Sequence[Any]], known: Known) -> None:
        try:
            for images in up_to(rest, count - len(writing)):
                written = self.write(images, known)
                assert written is not None, "the runner took another batch of this spec"
                writing.append(written)
        except Exception:
            for one in writing:  # the error of an earlier batch comes first
                if one.writing is not None:
                    one.writing.finished()
            raise

    def write(self, images: Sequence[Any], known: Known, *, late: bool = False) -> Written | None:
        """Begin to write images into a batch of the runner; ``None`` if the CPU has to preprocess them.

        ``late``: this thread starts the run at once.
        """
        started = time.perf_counter()
        batch = self._runner.image_batch(known.spec, max(len(images), known.smallest))
        if batch is None:
            return None
        try:
            taken = images if self._decode is None else self._decode(images)
            metas: list[Any] = []
            left = []
            for index, image in enumerate(taken):
                meta = batch.take(index, image)
                if meta is None and late and len(images) == 1:
                    meta = getattr(batch, "write_last", partial(batch.write, 0))(image)
                metas.append(meta)
                if meta is None:
                    left.append(index)
        except AdaptrtError:
            raise
        except Exception as error:
            raise core_failed(error) from error
        threads = self.calling.threads
        jobs: list[Callable[[], Any]] = batch.copies(threads)
        if left:
            jobs += [partial(_write_into, metas, index, batch, taken[index]) for index in left]
            threads = len(jobs)
        writing = Spread(jobs, threads) if jobs else None
        return Written(batch, metas, writing, started)

    def start(self, written: Written, known: Known, *, wait: bool = True) -> Started | None:
        """Start the run on images once all are written; ``None``, only without ``wait``: another run has to end first."""
        if written.writing is not None:
            written.writing.finished()
        written.batch.fill(len(written.metas))
        launched = time.perf_counter()
        run = self._runner.start_images(written.batch, known.boxes, wait=wait)
        if run is None:
            return None
        launched += getattr(run, "preprocessed", 0.0)
        return Started(run, written.metas, launched - written.started, launched)

    def decoded(self, started: Started, known: Known) -> BatchResult:
        return self.ended(started, known)()

    def ended(self, started: Started, known: Known) -> Callable[[], BatchResult]:
        """Wait for the outputs of a run; the function returned decodes them."""
        outputs = started.run.result()
        ran = time.perf_counter()
        seconds = (started.seconds, ran - started.started)
        ranked = getattr(started.run, "ranked", None)
        return partial(self._predicted, outputs, started.metas, seconds, ran, known, ranked)


def up_to(batches: Iterator[Sequence[Any]], count: int) -> Iterator[Sequence[Any]]:
    """The next batches, at most ``count``."""
    for _, batch in zip(range(count), batches, strict=False):
        yield batch


def _write_into(metas: list[Any], index: int, batch: ImageBatch, image: Any) -> None:
    metas[index] = batch.write(index, image)
