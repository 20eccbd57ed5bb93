"""Core's own executor: one image after another, in this process; the next is read while one runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from adaptrt.specs.executors import ExecutorOptions, ImageResult
from adaptrt.specs.image_files import ImageFile

if TYPE_CHECKING:
    from adaptrt.pipeline.load import Model
    from adaptrt.pipeline.streaming import FrameResult


class LocalExecutor:
    """Opens the model once and runs each image alone, so that results do not depend on the others."""

    name = "local"
    summary = "one image after another, in this process"
    options = None

    def run(self, model: Path, sources: Sequence[ImageFile], options: ExecutorOptions) -> Iterator[ImageResult]:
        with self.open(model, options) as opened:
            yield from self.results(opened, sources, options)

    @contextmanager
    def open(self, model: Path, options: ExecutorOptions) -> Iterator[Model]:
        """The model, with its warnings passed on."""
        from adaptrt.pipeline.load import load

        with load(model, options.open_options, plugins_file=options.plugins_path, adoption=options.adoption) as opened:
            for warning in opened.warnings:
                options.warn(warning)
            yield opened

    def results(self, opened: Model, sources: Sequence[ImageFile], options: ExecutorOptions) -> Iterator[ImageResult]:
        """The result of each image, in order; images are read ahead."""
        from adaptrt.sources.images import ImageSource

        images = ImageSource(sources, opened.channels)
        with closing(opened.predict(images, batch=1, **options.params)) as results:
            for path, result in zip(sources, results, strict=True):
                yield self._result(path, result, opened, options)

    def _result(self, path: ImageFile, result: FrameResult, opened: Model, options: ExecutorOptions) -> ImageResult:
        from adaptrt.vision.images import for_display

        pixels = result.frame.pixels
        if pixels is None:
            return ImageResult(path=path, error=result.frame.error)
        for warning in opened.later_warnings():
            options.warn(warning)
        for warning in result.warnings:
            options.warn(f"{path.name}: {warning}")
        return ImageResult(
            path=path,
            task=opened.spec.task,
            size=(pixels.shape[0], pixels.shape[1]),
            prediction=result.prediction,
            timing=result.timing,
            pixels=for_display(pixels),
        )


LOCAL = LocalExecutor()
