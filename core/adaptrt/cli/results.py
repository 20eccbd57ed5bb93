"""What ``predict`` finds: drawn, written, and put into words or data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt.errors import ImageError, OutputError, UsageError
from adaptrt.pipeline.output import require_folder
from adaptrt.predictions import Classification, Detections, Predictions, Values
from adaptrt.rendering.formatting import display_path
from adaptrt.verify.agreement import describe
from adaptrt.vision.drawing import draw_predictions
from adaptrt.vision.images import SUFFIXES, find_images, read_image, write_image

if TYPE_CHECKING:
    from adaptrt.pipeline.load import Model, Timing

BAR, NAME = 24, 40


@dataclass(frozen=True)
class ImageTarget:
    """An image to look at, and the file its result goes to."""

    path: Path
    output: Path | None


@dataclass(frozen=True)
class Result:
    """What was found in an image. ``size``: height and width, pixels; ``output``: the file written."""

    path: Path
    size: tuple[int, int]
    predictions: Predictions
    timing: Timing
    output: Path | None

    def as_data(self) -> dict[str, Any]:
        """Boxes: x1 y1 x2 y2, pixels of the image."""
        milliseconds = {name: round(1000 * seconds, 3) for name, seconds in vars(self.timing).items()}
        return {
            "path": str(self.path),
            "height": self.size[0],
            "width": self.size[1],
            **_found(self.predictions),
            "milliseconds": milliseconds,
            "output": str(self.output) if self.output else None,
        }


def find_targets(sources: Sequence[str], output: str | None) -> list[ImageTarget]:
    """Every image that the sources name, once, each with a place of its own in the output folder.

    ``output`` is a folder, or an image's name if there is only one image; ``None`` writes nothing.
    """
    paths = list(dict.fromkeys(path for source in sources for path in find_images(source)))
    if output is None:
        return [ImageTarget(path, None) for path in paths]
    place = Path(output)
    if place.suffix.lower() in SUFFIXES and not place.is_dir():
        if len(paths) > 1:
            raise UsageError(f"-o {output} is one file, and there are {len(paths)} images.", hint="Name a folder.")
        require_folder(place.parent)
        return [ImageTarget(paths[0], _not_itself(paths[0], place))]
    require_folder(place)
    images, taken = [], set[str]()
    for path in paths:
        name = path.name if path.suffix.lower() in SUFFIXES else f"{path.name}.png"
        stem, suffix, count = Path(name).stem, Path(name).suffix, 2
        while name.lower() in taken:
            name, count = f"{stem}-{count}{suffix}", count + 1
        taken.add(name.lower())
        images.append(ImageTarget(path, _not_itself(path, place / name)))
    return images


def _not_itself(path: Path, output: Path) -> Path:
    if output.resolve() == path.resolve():
        raise OutputError(f"-o would overwrite the image {path} itself.", hint="Choose another folder or name.")
    return output


def predict_each(
    model: Model, images: Sequence[ImageTarget], params: Mapping[str, Any]
) -> Iterator[tuple[ImageTarget, Result | ImageError]]:
    """A result for each image, drawn and written where it says so; what is no image comes back as its error."""
    for image in images:
        try:
            pixels = read_image(image.path)
        except ImageError as error:
            yield image, error
            continue
        (found,), timing = model.timed([pixels], **params)
        output = _write(pixels, found, image.output) if image.output else None
        yield image, Result(image.path, pixels.shape[:2], found, timing, output)


def _write(pixels: Any, found: Predictions, output: Path) -> Path:
    """The image with its boxes or classes on it; raw values, which cannot be drawn, as ``.npz``."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(found, Values):
            return write_image(output, draw_predictions(pixels, found))
        output = output.with_suffix(".npz")
        np.savez(output, **dict(found.arrays))  # type: ignore[arg-type]
    except OSError as error:
        raise OutputError(
            f"{output} cannot be written: {error.strerror or error}.", hint="Give another place with -o."
        ) from error
    return output


def describe_result(result: Result) -> str:
    """A line for an image; classes get a bar each."""
    timing = result.timing
    spent = f"pre {1000 * timing.preprocess:.1f}, run {1000 * timing.run:.1f}, post {1000 * timing.postprocess:.1f} ms"
    arrow = f"  -> {display_path(result.output)}" if result.output else ""
    found = result.predictions
    if not isinstance(found, Classification):
        return f"{display_path(result.path)}: {describe(found)}  ({spent}){arrow}"
    names = [_cut(found.name(index)) for index in range(len(found))]
    width = max(map(len, names), default=0)
    bars = [
        f"  {name:<{width}}  {'█' * round(BAR * float(score)):<{BAR}} {100 * float(score):5.1f} %"
        for name, score in zip(names, found.scores, strict=False)
    ]
    return "\n".join([f"{display_path(result.path)}:  ({spent}){arrow}", *bars])


def _cut(name: str) -> str:
    """ImageNet's names hold every synonym; --json gives them whole."""
    return name if len(name) <= NAME else f"{name[: NAME - 3]}..."


def _found(found: Predictions) -> dict[str, Any]:
    if isinstance(found, Values):
        return {
            "values": {
                name: {"shape": list(array.shape), "dtype": str(array.dtype)} for name, array in found.arrays.items()
            }
        }
    rows: list[dict[str, Any]] = []
    for index in range(len(found)):
        row: dict[str, Any] = {
            "label": found.name(index),
            "class": int(found.labels[index]),
            "score": round(float(found.scores[index]), 6),
        }
        if isinstance(found, Detections):
            row["box"] = [round(float(side), 3) for side in found.boxes[index]]
        rows.append(row)
    return {"detections" if isinstance(found, Detections) else "classes": rows}
