"""Core's own executor: one image after another, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from adaptrt.errors import ImageError
from adaptrt.specs.executors import ExecutorOptions, ImageResult


class LocalExecutor:
    """Opens the model once and calls it for each image."""

    name = "local"
    summary = "one image after another, in this process"
    options = None

    def run(self, model: Path, sources: Sequence[Path], options: ExecutorOptions) -> Iterator[ImageResult]:
        from adaptrt.pipeline.load import load
        from adaptrt.vision.images import for_display, read_image

        with load(
            model,
            device=options.device,
            custom_ops=options.custom_ops,
            allow_host_code=options.allow_host_code,
            plugin_libs=options.plugin_libs,
            plugins_file=options.plugins_file,
            adoption=options.adoption,
            threads=options.threads,
        ) as opened:
            for warning in opened.warnings:
                options.warn(warning)
            for path in sources:
                try:
                    pixels = read_image(path, opened.channels)
                except ImageError as error:
                    yield ImageResult(path=path, error=error)
                    continue
                (found,), timing = opened.timed([pixels], **options.params)
                for warning in opened.last_warnings:
                    options.warn(f"{path.name}: {warning}")
                size = (pixels.shape[0], pixels.shape[1])
                yield ImageResult(
                    path=path,
                    task=opened.spec.task,
                    size=size,
                    prediction=found,
                    timing=timing,
                    pixels=for_display(pixels),
                )


LOCAL = LocalExecutor()
