"""Predictions for the frames of sources, one after another."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from adaptrt.pipeline.batches import Timing
from adaptrt.sources import FrameStream
from adaptrt.specs import task_named

if TYPE_CHECKING:
    from adaptrt.pipeline.batches import BatchPipeline, BatchResult
    from adaptrt.predictions import Predictions
    from adaptrt.sources import Frame, Source
    from adaptrt.specs import ModelSpec, Task
    from adaptrt.vision.images import ImageArray


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameResult:
    """The prediction for a frame; ``None`` if ``frame.error`` says why it could not be read.

    ``task`` is that of the model. ``timing`` is the frame's share of its batch. ``fps``: frames per second of its source, if
    known; ``still``: it is a separate image. ``warnings``: what the outputs reported about themselves.
    """

    frame: Frame
    task: Task[Any] = field(repr=False)
    prediction: Predictions | None = None
    timing: Timing | None = None
    fps: float | None = None
    still: bool = False
    warnings: tuple[str, ...] = ()

    def plot(self) -> ImageArray:
        """The frame with its prediction, uint8 [H, W, 3] RGB; raises the error of a frame that could not be read."""
        from adaptrt.vision.images import for_display

        if self.frame.error is not None:
            raise self.frame.error
        assert self.frame.pixels is not None
        image = for_display(self.frame.pixels)
        return self.task.draw(image, self.prediction) if self.task.draws else image

    def _repr_png_(self) -> bytes | None:
        """The drawn frame, for notebooks."""
        from adaptrt.vision.images import encode_image

        return None if self.frame.pixels is None else encode_image(self.plot())


def stream_results(
    pipeline: BatchPipeline, spec: ModelSpec, sources: Sequence[Source], size: int
) -> Generator[FrameResult, None, None]:
    """A result for each frame, in the order in which they were read."""
    stream, task = FrameStream(sources), task_named(spec.task)
    about = {source.name: source for source in sources}
    waiting: deque[list[Frame]] = deque()

    def images() -> Iterator[list[Any]]:
        with closing(stream):
            for frames in stream.batches(size):
                waiting.append(frames)
                readable = [frame.pixels for frame in frames if frame.error is None]
                if readable:
                    yield readable

    def result_of(frame: Frame, **found: Any) -> FrameResult:
        source = about.get(frame.source)  # the images of one source have their own names
        if source is None:
            return FrameResult(frame=frame, task=task, still=True, **found)
        return FrameResult(frame=frame, task=task, fps=source.fps, still=source.still, **found)

    def unreadable() -> Iterator[FrameResult]:
        while waiting and all(frame.error is not None for frame in waiting[0]):
            for frame in waiting.popleft():
                yield result_of(frame)

    def found_in(result: BatchResult) -> Iterator[FrameResult]:
        predictions, count = iter(result.predictions), len(result.predictions)
        share = Timing(*(seconds / count for seconds in vars(result.timing).values()))
        for frame in waiting.popleft():
            if frame.error is not None:
                yield result_of(frame)
            else:
                yield result_of(frame, prediction=next(predictions), timing=share, warnings=result.problems)

    with closing(stream), closing(pipeline.results(images(), spec, ahead=not stream.live)) as results:
        for result in results:
            yield from unreadable()
            yield from found_in(result)
        yield from unreadable()
