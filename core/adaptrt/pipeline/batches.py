"""The way of images through a model: preprocessing on several threads, the run, postprocessing.

The next batch is preprocessed, and the previous one postprocessed, while a batch runs.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from adaptrt.errors import AdaptrtError, ImageError, ShapeError
from adaptrt.forks import prepare_forks
from adaptrt.pipeline.box_filter import box_filter
from adaptrt.pipeline.call_thread import CallThread
from adaptrt.pipeline.runner_batches import RunnerBatches, Written, up_to
from adaptrt.pipeline.verification.batching import fill_batch, first_rows, smallest_batch
from adaptrt.specs.decoders import decoder_of, is_own
from adaptrt.specs.runners import AllocatesInputs, PreparesImages, is_on_device
from adaptrt.specs.spec_cache import SpecCache
from adaptrt.vision.decoders.ranked import ranked_detections
from adaptrt.worker_threads import Spread, core_failed, helping_threads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from adaptrt.pipeline.processing import Processing
    from adaptrt.predictions import ImageMeta, Predictions
    from adaptrt.specs import ModelSpec
    from adaptrt.specs.layouts import BoxFilter
    from adaptrt.specs.runners import Runner

_SEPARATE = 4  # calls with one image; with more at once, one thread runs them
_TOGETHER = 2  # calls whose images other threads help to copy; with more at once, each thread copies its own
_SMALL, _LARGE = 256 << 10, 4 << 20  # bytes of an image in host memory that its thread copies for another
_KEPT = 3  # one batch runs, one is filled, one is between the two


@dataclass(frozen=True)
class Timing:
    """Seconds of one call, over all its images.

    Steps of different batches overlap: their sum can be larger than the time of the call.
    """

    preprocess: float
    run: float
    postprocess: float


class BatchResult(NamedTuple):
    """The predictions for a batch, and what its outputs reported about themselves."""

    predictions: Sequence[Predictions]
    timing: Timing
    problems: tuple[str, ...]


class _Prepared(NamedTuple):
    run: Callable[[], dict[str, NDArray[Any]]]
    metas: list[ImageMeta]
    seconds: float
    buffer: NDArray[Any] | None


class _Ran(NamedTuple):
    outputs: dict[str, NDArray[Any]]
    seconds: float


class Known(NamedTuple):
    """What the calls with one spec have in common.

    ``fills_buffer``: preprocessing is core's alone, which writes into one buffer, on several threads. ``own_hooks``: plugins take part
    in postprocessing.
    """

    spec: ModelSpec
    fills_buffer: bool
    boxes: BoxFilter | None
    smallest: int
    problems: Callable[[Mapping[str, NDArray[Any]], Sequence[ImageMeta], ModelSpec], Sequence[str]] | None
    own_hooks: bool


def _known_of(spec: ModelSpec, *, processing: Processing, prepares: bool) -> Known:
    boxes = box_filter(spec, processing) if prepares else None
    fills = spec.image is not None and [tensor.name for tensor in spec.inputs] == [spec.image.input]
    decoder = decoder_of(spec)
    own_hooks = not (processing.decodes_in_core and is_own(decoder.name))
    return Known(spec, fills and processing.is_core, boxes, smallest_batch(spec), decoder.problems, own_hooks)


class BatchPipeline:
    """Takes batches of images through one model."""

    def __init__(self, runner: Runner, processing: Processing) -> None:
        self._runner = runner
        self._preparer = RunnerBatches(runner, self._predicted) if isinstance(runner, PreparesImages) else None
        self._thread = None if self._preparer is None else CallThread(self._preparer)
        self._calling: AbstractContextManager[int | None] = (
            nullcontext() if self._preparer is None else self._preparer.calling
        )
        self._hand_over: Callable[[Any], Any] | None = getattr(runner, "handed_over", None)
        self._give_back: Callable[[Any], None] | None = getattr(runner, "give_back", None)
        self._processing = processing
        self._buffers = _Buffers(runner.input_array if isinstance(runner, AllocatesInputs) else np.empty)
        self._of = SpecCache(partial(_known_of, processing=processing, prepares=self._preparer is not None))

    def results(
        self, batches: Iterable[Sequence[Any]], spec: ModelSpec, *, ahead: bool = True
    ) -> Generator[BatchResult, None, None]:
        """The result of each batch, in order. Hooks of plugins are called in this thread only.

        ``ahead=False``: the next batch is requested only after the result of the last has been used.
        """
        rest = iter(batches)
        known = self._of(spec)
        if self._preparer is not None and known.fills_buffer:
            with self._preparer.calling:
                first = list(up_to(rest, 1))
                written = self._preparer.write(first[0], known) if first else None
                if written is not None:
                    yield from self._preparer.stream(written, rest, known, ahead=ahead)
                    return
            rest = chain(first, rest)
        if ahead:
            first = list(up_to(rest, 2))
            if len(first) == 2:
                yield from self._overlapped(chain(first, rest), spec)
                return
            rest = iter(first)
        for images in rest:
            prepared = self._prepare(images, spec)
            yield self._finish(prepared, self._run(prepared), spec)

    def result(self, images: Sequence[Any], spec: ModelSpec) -> BatchResult:
        """The result of one batch. Without the overlap of ``results``, it takes less of Python's time."""
        if self._preparer is None:
            return self._begin(images, spec)()
        with self._preparer.calling as calls:
            known = self._of(spec)
            if len(images) == 1 and known.fills_buffer:
                image = images[0]
                if calls > _SEPARATE and not self._preparer.has_loan():
                    return self._result_of_thread(image, known)
                if calls > _TOGETHER and isinstance(image, np.ndarray):
                    taken = self._ahead(image, known)
                    found = self._begin([taken], spec)()
                    self.ended(taken, image)
                    return found
            return self._begin(images, spec)()

    def _result_of_thread(self, image: Any, known: Known) -> BatchResult:
        """Of the thread that runs calls of others; of this one if the CPU preprocesses."""
        assert self._preparer is not None
        assert self._thread is not None
        on_device = not isinstance(image, np.ndarray) and is_on_device(image)
        taken = image if on_device else self._ahead(image, known)
        given: Sequence[Any] | Written | None = [taken]
        # this thread copies what is large while others run; on a GPU, other libraries have a current stream in each thread
        if on_device or not isinstance(taken, np.ndarray) or taken.nbytes >= _LARGE:
            given = self._preparer.write([taken], known)
        found = None if given is None else self._thread.result(given, known)
        if found is None:
            found = self._begin([taken], known.spec)()
        self.ended(taken, image)
        return found

    def has_loan(self) -> bool:
        """Whether this thread has to run its next call itself, since the runner has lent it memory until then."""
        return self._preparer is not None and self._preparer.has_loan()

    @property
    def overlaps(self) -> bool:
        """Whether ``begin`` returns before the batch has run."""
        return self._preparer is not None

    def begin(self, images: Sequence[Any], spec: ModelSpec) -> Callable[[], BatchResult]:
        """Start a batch, and return what waits for its result. Without a runner that preprocesses images, it has run by then."""
        with self._calling:
            return self._begin(images, spec)

    def _begin(self, images: Sequence[Any], spec: ModelSpec) -> Callable[[], BatchResult]:
        preparer, known = self._preparer, self._of(spec)
        if preparer is not None and known.fills_buffer:
            written = preparer.write(images, known, late=True)
            if written is not None:
                started = preparer.start(written, known)
                assert started is not None
                return partial(preparer.decoded, started, known)
        prepared = self._prepare(images, spec)
        result = self._finish(prepared, self._run(prepared), spec)
        return lambda: result

    def ahead(self, image: Any, spec: ModelSpec) -> Any:
        """An image for ``begin`` in another thread, or beside other calls: a file is read, an image on a GPU ordered after the work of this
        thread, and an array copied to memory from which it is sent at once.

        The other thread would need the interpreter lock again for each, while a copy in this one runs beside the others.
        """
        known = self._of(spec)
        return self._ahead(image, known) if known.fills_buffer else image

    def _ahead(self, image: Any, known: Known) -> Any:
        if isinstance(image, (str, Path)) and not getattr(self._runner, "decodes_files", False):
            from adaptrt.vision.images import read_image

            image = read_image(image, known.spec.image_channels)
        if _SMALL <= image.nbytes < _LARGE if isinstance(image, np.ndarray) else is_on_device(image):
            return image if self._hand_over is None else self._hand_over(image)
        return image

    def ended(self, image: Any, original: Any) -> None:
        """A call with what ``ahead`` returned for an image has a result. Without one, its run may still read the copy."""
        if image is not original and self._give_back is not None:
            self._give_back(image)

    def _overlapped(self, batches: Iterator[Sequence[Any]], spec: ModelSpec) -> Iterator[BatchResult]:
        lanes = max(1, int(getattr(self._runner, "concurrent_calls", 1)))
        running: deque[tuple[_Prepared, Future[_Ran]]] = deque()
        with ThreadPoolExecutor(lanes, thread_name_prefix="adaptrt-run") as runs:
            try:
                for images in batches:
                    try:
                        prepared = self._prepare(images, spec)
                    except Exception:
                        for _, future in running:
                            future.result()  # the error of an earlier batch comes first
                        raise
                    running.append((prepared, runs.submit(self._run, prepared)))
                    if len(running) > lanes:
                        yield self._finish_next(running, spec)
                while running:
                    yield self._finish_next(running, spec)
            finally:
                for _, future in running:
                    future.cancel()

    def _finish_next(self, running: deque[tuple[_Prepared, Future[_Ran]]], spec: ModelSpec) -> BatchResult:
        prepared, future = running.popleft()
        return self._finish(prepared, future.result(), spec)

    def _prepare(self, images: Sequence[Any], spec: ModelSpec) -> _Prepared:
        started = time.perf_counter()
        if not self._of(spec).fills_buffer:
            return self._prepare_by_hooks(images, spec, started)
        try:
            return self._prepare_buffer(images, spec, started)
        except AdaptrtError:
            raise
        except Exception as error:
            raise core_failed(error) from error

    def _prepare_buffer(self, images: Sequence[Any], spec: ModelSpec, started: float) -> _Prepared:
        from adaptrt.vision.transforms import batch_form

        assert spec.image is not None
        shape, dtype = batch_form(spec, max(len(images), smallest_batch(spec)))
        try:
            buffer = self._buffers.take(shape, dtype)
        except MemoryError as error:
            raise ShapeError(
                f"Not enough memory for a batch of shape {list(shape)}.", hint="Pass fewer images at once."
            ) from error
        metas: list[Any] = [None] * len(images)
        jobs = [partial(_fill_into, metas, index, image, spec, buffer[index]) for index, image in enumerate(images)]
        Spread(jobs, helping_threads()).finished()
        buffer[len(images) :] = buffer[len(images) - 1]
        inputs = {spec.image.input: buffer}
        return _Prepared(lambda: self._runner.run(inputs), metas, time.perf_counter() - started, buffer)

    def _prepare_by_hooks(self, images: Sequence[Any], spec: ModelSpec, started: float) -> _Prepared:
        from adaptrt.vision.images import read_image

        channels = 3 if spec.image is None else spec.image_channels
        arrays: list[Mapping[str, NDArray[Any]]] = []
        metas: list[ImageMeta] = []
        for image in images:
            inputs, meta = self._processing.preprocess(read_image(image, channels), spec)
            arrays.append(inputs)
            metas.append(meta)
        inputs = fill_batch(arrays, smallest_batch(spec))
        return _Prepared(lambda: self._runner.run(inputs), metas, time.perf_counter() - started, None)

    def _run(self, prepared: _Prepared) -> _Ran:
        started = time.perf_counter()
        outputs = prepared.run()
        return _Ran(outputs, time.perf_counter() - started)

    def _finish(self, prepared: _Prepared, ran: _Ran, spec: ModelSpec) -> BatchResult:
        started = time.perf_counter()
        buffer = prepared.buffer
        if buffer is not None and not any(np.may_share_memory(buffer, array) for array in ran.outputs.values()):
            self._buffers.give(buffer)
        seconds = (prepared.seconds, ran.seconds)
        return self._predicted(ran.outputs, prepared.metas, seconds, started, self._of(spec))

    def _predicted(
        self,
        outputs: dict[str, NDArray[Any]],
        metas: list[ImageMeta],
        seconds: tuple[float, float],
        started: float,
        known: Known,
        ranked: NDArray[np.float32] | None = None,
    ) -> BatchResult:
        """``ranked``: boxes instead of outputs."""
        predictions: Sequence[Predictions]
        problems: tuple[str, ...] = ()
        if ranked is not None:
            assert known.boxes is not None
            predictions = ranked_detections(ranked, metas, known.boxes, known.spec.labels)
        else:
            outputs = first_rows(outputs, len(metas), known.smallest)
            predictions = self._processing.postprocess(outputs, metas, known.spec)
            if known.problems is not None:
                problems = tuple(known.problems(outputs, metas, known.spec))
        return BatchResult(predictions, Timing(*seconds, time.perf_counter() - started), problems)


class _Buffers:
    """Batch buffers to reuse: new memory of this size costs as much as preprocessing."""

    def __init__(self, allocate: Callable[[tuple[int, ...], Any], NDArray[Any]]) -> None:
        self._allocate = allocate
        self._free: list[NDArray[Any]] = []
        self.forked()
        prepare_forks(self)

    def forked(self) -> None:
        self._lock = threading.Lock()

    def take(self, shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
        with self._lock:
            for index, buffer in enumerate(self._free):
                if buffer.shape == shape and buffer.dtype == dtype:
                    return self._free.pop(index)
        return self._allocate(shape, dtype)

    def give(self, buffer: NDArray[Any]) -> None:
        with self._lock:
            self._free.append(buffer)
            del self._free[:-_KEPT]


def _fill_into(metas: list[Any], index: int, image: Any, spec: ModelSpec, out: NDArray[Any]) -> None:
    metas[index] = _fill(image, spec, out)


def _fill(image: Any, spec: ModelSpec, out: NDArray[Any]) -> ImageMeta:
    from adaptrt.vision.images import read_image
    from adaptrt.vision.transforms import transform_image

    assert spec.image is not None
    if is_on_device(image):
        raise ImageError(
            "The image is in GPU memory, and images of this model are preprocessed on the CPU.",
            hint="Copy it to the host first, for example with image.cpu().numpy().",
        )
    return transform_image(read_image(image, spec.image_channels), spec.image, spec.image_size, out=out)[1]
