"""Load a converted model for prediction."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from inspect import GEN_CLOSED, getgeneratorstate
from numbers import Integral
from pathlib import Path
from threading import Thread, current_thread
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

import numpy as np

from adaptrt.errors import AdaptrtError, ModelError, UsageError
from adaptrt.pipeline.batches import BatchPipeline, Timing
from adaptrt.pipeline.beside import mismatch
from adaptrt.pipeline.joined_calls import JoinedCalls
from adaptrt.pipeline.processing import Processing, spec_with_params
from adaptrt.pipeline.python_words import say_in_python
from adaptrt.predictions import Predictions
from adaptrt.specs import ModelSpec
from adaptrt.specs.adoption import Adoption
from adaptrt.specs.backend_calls import open_runner
from adaptrt.specs.backend_parts import KeepsManifest
from adaptrt.specs.backends import Backend, OpenOptions
from adaptrt.specs.runners import FileRunner, Runner, is_on_device
from adaptrt.store.model_files import require_backend, require_libraries, require_model_file

if TYPE_CHECKING:
    from adaptrt.pipeline.streaming import FrameResult
    from adaptrt.sources import SourceOptions
    from adaptrt.sources.find import Named


DEFAULTS = OpenOptions()
_SPECS = 32
_SINGLE = (str, Path, np.ndarray, bytes, bytearray, memoryview)


class Model:
    """A file that adaptrt wrote, with its pre- and postprocessing.

    Calling it with a path, an array (uint8 [H, W, 3] RGB; with an engine also in GPU memory, of any library) or a list of them
    returns a list of predictions; keyword
    arguments change the decoder's parameters for this call (``conf=0.4``). ``last_warnings`` is what the outputs of the
    last call reported about themselves. Use it as a context manager, or ``close``.

    ``join_calls``: how many calls with one image, from several threads, may run as one batch; a ``UsageError`` if the batch is smaller.
    """

    from_python = False
    """Whether its errors name arguments, rather than options of the command line."""

    def __init__(
        self, runner: Runner, spec: ModelSpec, path: Path, *, plugins_file: Path | None = None, join_calls: int = 1
    ) -> None:
        self.path = path
        self.spec = spec
        self.runner = runner
        self._processing = Processing(spec, plugins_file=plugins_file)
        self.warnings = list(self._processing.warnings)
        self.last_warnings: tuple[str, ...] = ()
        self._pipeline = BatchPipeline(runner, self._processing)
        if not 1 <= join_calls <= self.largest_batch:
            raise UsageError(f"join_calls must be 1 to {self.largest_batch} for {path.name}; got {join_calls}.")
        self._joined: JoinedCalls | None = None
        if join_calls > 1:
            steps, at_once = self._pipeline, 2 if self._pipeline.overlaps else 1
            self._joined = JoinedCalls(steps.begin, join_calls, at_once=at_once, ahead=steps.ahead, ended=steps.ended)
        self._specs: dict[Any, tuple[ModelSpec, ModelSpec]] = {}
        self._results: WeakKeyDictionary[Generator[FrameResult, None, None], Thread] = WeakKeyDictionary()
        """Of sources, with the threads that asked for them."""
        self._ended: WeakSet[Generator[FrameResult, None, None]] = WeakSet()
        """Results that ``close`` has ended."""
        if spec.image is not None:  # so that the first call is not slower than others
            from adaptrt.vision import images, transforms  # noqa: F401
            from adaptrt.vision.decoders import decode  # noqa: F401

    def __call__(self, images: Any, **params: Any) -> list[Predictions]:
        return self.timed(images, **params)[0]

    def timed(self, images: Any, **params: Any) -> tuple[list[Predictions], Timing]:
        """The predictions and the time of each step; reading files counts as preprocessing.

        A list of more images than the largest batch is cut into batches, whose steps overlap.
        """
        spec = self._spec_with(params)
        batch = (
            [images]
            if isinstance(images, _SINGLE) or not isinstance(images, Iterable) or _is_array(images)
            else list(images)
        )
        largest = self.largest_batch
        if 0 < len(batch) <= largest:
            joined = self._joined if len(batch) == 1 else None
            if joined is None or self._pipeline.has_loan():
                found = self._pipeline.result(batch, spec)
            else:
                found = joined(batch[0], spec)
            self.last_warnings = found.problems
            return list(found.predictions), found.timing
        predictions: list[Predictions] = []
        self.last_warnings = ()
        preprocess = run = postprocess = 0.0
        chunks = (batch[start : start + largest] for start in range(0, len(batch), largest))
        for result in self._pipeline.results(chunks, spec):
            predictions.extend(result.predictions)
            self.last_warnings += result.problems
            preprocess += result.timing.preprocess
            run += result.timing.run
            postprocess += result.timing.postprocess
        return predictions, Timing(preprocess, run, postprocess)

    def predict(
        self,
        source: Named | Sequence[Named],
        *,
        batch: int | None = None,
        options: SourceOptions | None = None,
        **params: Any,
    ) -> Generator[FrameResult, None, None]:
        """Read sources and yield a result for each frame: files, folders, patterns, ``.txt`` lists, URLs, videos, cameras
        (``0``) and ``rtsp://`` streams.

        ``batch`` is how many frames run at once, by default one of each source. With files, every frame is used and the next batch is
        read while one runs. With a camera or stream, the newest frame of each is used. A frame that cannot be read has an
        ``error``. Closing the generator closes the sources.
        """
        from adaptrt.pipeline.streaming import stream_results
        from adaptrt.sources import SourceOptions, find_sources

        if batch is not None and not isinstance(batch, Integral):
            raise UsageError(f"batch must be an integer or None; got {batch!r}.", hint="For example: batch=1")
        spec = self._spec_with(params)
        found = find_sources(source, replace(options or SourceOptions(), channels=self.channels))
        largest = self.largest_batch
        if batch is not None and not 1 <= batch <= largest:
            raise UsageError(f"batch must be 1 to {largest} for {self.path.name}; got {batch}.")
        results = stream_results(self._pipeline, spec, found, min(batch or len(found), largest))
        self._results[results] = current_thread()
        return self._unless_ended(results)

    def _unless_ended(self, results: Generator[FrameResult, None, None]) -> Generator[FrameResult, None, None]:
        """The results, and an error where ``close`` has ended them: they would look complete."""
        with closing(results):
            yield from results
        if results in self._ended:
            raise ModelError(f"{self.path.name} has been closed.", hint="Load it again: adaptrt.load(...)")

    def _spec_with(self, params: dict[str, Any]) -> ModelSpec:
        """The same object for the same parameters: much is remembered for a spec."""
        if not params:
            return self.spec
        key = tuple((name, *_typed(value)) for name, value in params.items())
        try:
            base, known = self._specs.get(key, (None, None))
        except TypeError:  # an array, which has no hash
            return self._new_spec(params)
        if known is None or base is not self.spec:
            known = self._new_spec(params)
            if len(self._specs) >= _SPECS:
                self._specs.clear()
            self._specs[key] = (self.spec, known)
        return known

    def _new_spec(self, params: dict[str, Any]) -> ModelSpec:
        try:
            return spec_with_params(self.spec, params)
        except UsageError as error:
            if self.from_python:
                say_in_python(error, Model.__call__)
            raise

    @property
    def channels(self) -> int:
        """Number of image channels that the model expects."""
        return 3 if self.spec.image is None else self.spec.image_channels

    @property
    def largest_batch(self) -> int:
        """Number of images that the model takes at most at once."""
        axes = self.spec.inputs[0].dims if self.spec.inputs else ()  # a non-image model may have no inputs or axes
        return axes[0].max if axes else 1

    def later_warnings(self) -> list[str]:
        """Limitations that the runner has found since loading, or since the last time: why images are preprocessed on the CPU, for
        example. They are added to ``warnings``.
        """
        found = [text for text in getattr(self.runner, "warnings", ()) if text not in self.warnings]
        self.warnings += found
        return found

    def close(self) -> None:
        """End the results of ``predict`` in this thread, wait for calls of others, and free the model.

        Reading further results is an error.
        """
        for reference in self._results.keyrefs():  # unlike items, a copy: other threads may add results
            results = reference()
            # the runner would wait for what those of this thread have started
            if results is not None and self._results.get(results) is current_thread():
                if getgeneratorstate(results) != GEN_CLOSED:  # not at their end
                    self._ended.add(results)
                results.close()
        self.runner.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _typed(value: Any) -> tuple[type[Any], Any]:
    """With its type, since 1 equals True; a list is known by its items."""
    return type(value), tuple(map(_typed, value)) if isinstance(value, (list, tuple)) else value


def _is_array(image: Any) -> bool:
    """Whether it is one image in the memory of a GPU, although it can be iterated over; a batch [N, H, W, C] is not."""
    return is_on_device(image) and len(image.shape if hasattr(image, "shape") else ()) == 3


def load(
    path: Path,
    options: OpenOptions = DEFAULTS,
    *,
    plugins_file: Path | None = None,
    adoption: Adoption | None = None,
    join_calls: int = 1,
) -> Model:
    """Open a file that adaptrt wrote, with the backend of its suffix.

    Another file is opened if it says how to use it (metadata of Ultralytics, files of MMDeploy, outputs of EfficientNMS), or ``adoption`` does.
    ``join_calls=8``: calls with one image that begin while others run, in other threads, run together, at most so many.
    """
    require_model_file(path)
    require_libraries("--plugin-lib", options.plugin_libs)
    require_libraries("--ort-custom-ops", options.custom_ops)
    backend = require_backend(path)
    runner = open_runner(backend, path, options)
    try:
        if options.gpu_jpeg and not hasattr(runner, "decoded"):
            raise UsageError(
                f"gpu_jpeg requires an engine; {path.name} runs in {backend.title}.", hint="Omit gpu_jpeg."
            )
        spec, note = _spec_of(runner, path, backend, adoption or Adoption())
        model = Model(runner, spec, path, plugins_file=plugins_file, join_calls=join_calls)
    except AdaptrtError:
        runner.close()
        raise
    model.warnings += [*runner.warnings, *note, *filter(None, [mismatch(path)])]
    return model


def _spec_of(runner: FileRunner, path: Path, backend: Backend, said: Adoption) -> tuple[ModelSpec, list[str]]:
    """The spec in the file; else one for a file from elsewhere, and a note about it."""
    from adaptrt.pipeline.adopt import adopt_spec, read_as, recognize
    from adaptrt.pipeline.mmdeploy import is_named, read_deployed

    if runner.spec is not None:
        if said:
            raise UsageError(
                f"{path.name} already has a spec: --decoder, --imgsz and --names apply only to files without one.",
                hint="Change decoder parameters with --set, for example --set conf=0.4.",
            )
        return runner.spec, []
    inputs, outputs, metadata = (getattr(runner, name, ()) for name in ("inputs", "outputs", "metadata"))
    metadata = dict(metadata)
    recognized = said.decoder or recognize(outputs, metadata).decoder or is_named(path)
    if not outputs or not recognized:
        raise _without_spec(path, backend)
    deployed = None if said.decoder else read_deployed(path)
    spec, source = adopt_spec(path.name, inputs, outputs, metadata, said, deployed=deployed)
    return spec, [f"{path.name} was not written by adaptrt: {read_as(spec, source)}"]


def _without_spec(path: Path, backend: Backend) -> ModelError:
    unknown = "pre- and postprocessing are unknown"
    if not isinstance(backend, KeepsManifest):
        return ModelError(
            f"{path.name} has no adaptrt spec: {unknown}.",
            hint="Convert the checkpoint with adaptrt convert; or specify the decoder of its outputs: --decoder yolo (and --imgsz, "
            "--names).",
        )
    return ModelError(
        f"{path.name} has no manifest ({path.name}.json): {unknown}.",
        hint=f"Copy the manifest next to it, or pass arrays to {backend.title}: "
        f"adaptrt.specs.backends.BACKENDS.find({backend.name!r}).open(...).",
    )
