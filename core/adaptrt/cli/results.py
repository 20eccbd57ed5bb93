"""What ``predict`` finds: drawn, written, and described."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.errors import ImageError, OutputError, UsageError, did_you_mean
from adaptrt.pipeline.output import require_folder, require_no_input
from adaptrt.predictions import Predictions
from adaptrt.rendering.formatting import display_path
from adaptrt.specs import Found, Task, task_named
from adaptrt.specs.backend_parts import ReadsSpec
from adaptrt.specs.tasks import TASKS
from adaptrt.store.free_names import FreeNames
from adaptrt.store.model_files import require_backend, require_model_file
from adaptrt.store.workspace import written_aside
from adaptrt.vision.images import SUFFIXES, for_display, read_image, write_image

if TYPE_CHECKING:
    from adaptrt.pipeline.batches import Timing
    from adaptrt.specs.executors import ImageResult
    from adaptrt.specs.image_files import ImageFile

BAR, NAME = 24, 40


@dataclass(frozen=True)
class ImageTarget:
    """An image to run on, and the file for its result. ``name``: that of all its results, without a suffix."""

    path: Path
    output: Path | None
    name: str


@dataclass(frozen=True)
class Result:
    """What was found in an image. ``size``: height and width, pixels; ``output``: the file written; ``name``: that of its exports."""

    path: Path
    size: tuple[int, int]
    predictions: Predictions
    timing: Timing
    output: Path | None
    task: Task[Any]
    name: str = ""

    def as_data(self) -> dict[str, Any]:
        milliseconds = {name: round(1000 * seconds, 3) for name, seconds in vars(self.timing).items()}
        return {
            "path": str(self.path),
            "height": self.size[0],
            "width": self.size[1],
            **self.task.data(self.predictions),
            "milliseconds": milliseconds,
            "output": str(self.output) if self.output else None,
        }


def find_targets(paths: Sequence[Path], output: str | None) -> list[ImageTarget]:
    """Each image with its own path in the output folder.

    ``output`` is a folder, or a file name if there is only one image; ``None`` writes nothing.
    """
    stems = [path.stem for path in paths]
    free = FreeNames(stems)
    names = [free.take(stem) for stem in stems]
    if output is None:
        return [ImageTarget(path, None, name) for path, name in zip(paths, names, strict=True)]
    place, inputs = Path(output), {path.resolve() for path in paths}
    if place.suffix.lower() in SUFFIXES and not place.is_dir():
        if len(paths) > 1:
            raise UsageError(f"-o {output} is one file, but there are {len(paths)} images.", hint="Pass a folder.")
        require_folder(place.parent)
        require_no_input(place, inputs)
        return [ImageTarget(paths[0], place, names[0])]
    require_folder(place)
    images = []
    for path, name in zip(paths, names, strict=True):
        suffix = path.suffix if path.suffix.lower() in SUFFIXES else ".png"
        images.append(ImageTarget(path, place / f"{name}{suffix}", name))
        require_no_input(place / f"{name}{suffix}", inputs)
    return images


def write_results(
    found: Iterable[ImageResult], targets: Sequence[ImageTarget], formats: Sequence[str] = ()
) -> Iterator[tuple[ImageTarget, Result | ImageError]]:
    """Draw each result and write it to its target's file; an image that could not be read is returned as its error.

    Nothing is written if the task does not support one of the ``formats``.
    """
    by_path: dict[ImageFile, ImageTarget] = {target.path: target for target in targets}
    for one in found:
        target = by_path[one.path]
        if one.error is not None:
            yield target, one.error
            continue
        assert one.timing is not None
        task = task_named(one.task)
        _require_formats(task, formats)
        output = None
        if target.output:
            output = _write(_pixels(one, target), one.prediction, target, task)
        yield target, Result(target.path, one.size, one.prediction, one.timing, output, task, target.name)


def _pixels(one: ImageResult, target: ImageTarget) -> Any:
    return for_display(read_image(target.path, None)) if one.pixels is None else one.pixels


def _write(pixels: Any, found: Predictions, image: ImageTarget, task: Task[Any]) -> Path:
    """The image with the prediction drawn, or the task's default format if it cannot draw."""
    assert image.output is not None
    if task.draws:
        return write_image(image.output, task.draw(pixels, found), parents=True)
    exported = Found(image.output.stem, image.path, pixels.shape[:2], found)
    ((name, data),) = task.export(task.formats[0], [exported])
    return write_file(image.output.with_suffix(Path(name).suffix), data)


def require_formats(model: Path, formats: Sequence[str]) -> None:
    """Reject a format that the task of a model lacks, before the model is loaded. If its backend has to load the file to
    know the task, only formats that no task has are rejected here."""
    if not formats:
        return None
    require_model_file(model)
    backend = require_backend(model)
    spec = backend.read_spec(model) if isinstance(backend, ReadsSpec) else None
    if spec is not None:
        return _require_formats(task_named(spec.task), formats)
    known = sorted({name for task in TASKS.all() for name in task.formats})
    for name in formats:
        if name not in known:
            raise UsageError(
                f"--save {name}: no task supports this format.", hint=did_you_mean(name, [*known, "video"])
            )
    return None


def _require_formats(task: Task[Any], formats: Sequence[str]) -> None:
    for name in formats:
        if name not in task.formats:
            raise UsageError(
                f"--save {name}: task {task.name!r} does not support this format.",
                hint=did_you_mean(name, [*task.formats, "video"]),
            )


def folder_of(output: str | None) -> Path:
    """The folder for exports: the output folder, or the folder of a single output image."""
    place = Path(output or "predictions")
    return place.parent if place.suffix.lower() in SUFFIXES and not place.is_dir() else place


def export_results(task: Task[Any], format: str, results: Sequence[Result], folder: Path) -> list[Path]:  # noqa: A002
    """Write predictions in a format of their task, into a folder named after it."""
    found = [Found(result.name, result.path, result.size, result.predictions) for result in results]
    inputs = {result.path.resolve() for result in results}
    written = []
    for name, data in task.export(format, found):
        path = folder / format / name
        require_no_input(path, inputs, what=f"--save {format}")
        written.append(write_file(path, data))
    return written


def other_files(folder: Path, written: Collection[Path]) -> list[Path]:
    """Files in a folder of exports that this run did not write, sorted: an earlier run may have found more."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path not in written)


def write_file(path: Path, data: bytes) -> Path:
    try:
        with written_aside(path, parents=True) as aside:
            aside.write_bytes(data)
    except OSError as error:
        raise _not_written(path, error) from error
    return path


def _not_written(path: Path, error: OSError) -> OutputError:
    return OutputError(f"{path} cannot be written: {error.strerror or error}.", hint="Choose another location with -o.")


def describe_result(result: Result) -> str:
    """A line for an image, and the bars of its task."""
    timing, task = result.timing, result.task
    spent = f"pre {1000 * timing.preprocess:.1f}, run {1000 * timing.run:.1f}, post {1000 * timing.postprocess:.1f} ms"
    arrow = f"  -> {display_path(result.output)}" if result.output else ""
    shares = task.bars(result.predictions)
    if not shares:
        return f"{display_path(result.path)}: {task.describe(result.predictions)}  ({spent}){arrow}"
    names = [_cut(name) for name, _ in shares]
    width = max(map(len, names))
    bars = [
        f"  {name:<{width}}  {'█' * round(BAR * share):<{BAR}} {100 * share:5.1f} %"
        for name, (_, share) in zip(names, shares, strict=True)
    ]
    return "\n".join([f"{display_path(result.path)}:  ({spent}){arrow}", *bars])


def describe_written(paths: Sequence[Path]) -> str:
    return f"Written: {', '.join(map(str, paths[:3]))}{' ...' if len(paths) > 3 else ''}"


def _cut(name: str) -> str:
    """ImageNet's names include every synonym; --json has the full names."""
    return name if len(name) <= NAME else f"{name[: NAME - 3]}..."
