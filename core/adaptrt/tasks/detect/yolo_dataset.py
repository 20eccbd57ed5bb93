"""Reads Ultralytics' data sets: a ``data.yaml``, and a text file for each image with a line for each object."""

from __future__ import annotations

import glob
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from adaptrt.errors import DependencyError, UsageError
from adaptrt.specs.tasks import Dataset, Example
from adaptrt.tasks.detect.coco import truth_of

if TYPE_CHECKING:
    from adaptrt.specs import ModelSpec

SUFFIXES = (".yaml", ".yml")
_EXAMPLE = "Ultralytics: path, val (a folder or a list of images) and names; labels/ next to images/ contains a .txt for each image."
_LARGEST_FILE = 1 << 22
_DEEPEST = 32  # levels of a data.yaml


ReadLine: TypeAlias = "Callable[[Sequence[float], tuple[int, int], Mapping[str, Any]], dict[str, Any]]"
"""The numbers behind the class, the image's (height, width), and the ``data.yaml``, to entries of a COCO annotation.

It raises ``ValueError`` with what is wrong with the line.
"""


def box_entry(values: Sequence[float], size: tuple[int, int], _document: Mapping[str, Any]) -> dict[str, Any]:
    """A line of cx cy w h, or of a polygon around the object, relative to the image size."""
    height, width = size
    if len(values) == 4:
        x, y, w, h = values
        left, top = (x - w / 2) * width, (y - h / 2) * height
        w, h = w * width, h * height
    elif len(values) >= 6 and len(values) % 2 == 0:
        xs, ys = [x * width for x in values[::2]], [y * height for y in values[1::2]]
        left, top, w, h = min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)
    else:
        raise ValueError(f"{len(values)} numbers after the class do not form a box or a polygon")
    return {"bbox": [left, top, w, h], "area": w * h}


def read_yolo(data: Path, spec: ModelSpec, images: Path | None, read_line: ReadLine = box_entry) -> Dataset:
    """The validation images of a ``data.yaml``; context and examples are those of ``read_coco``.

    An image without a label file has no objects. ``images`` replaces the folder that ``val`` names. ``read_line`` reads
    what a task writes of an object.
    """
    from adaptrt.vision.images import read_image

    described = read_description(data, images)
    names = described.names
    shown: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    examples: list[Example] = []
    categories = [{"id": number, "name": name} for number, name in names.items()]
    for number, path in enumerate(described.images, start=1):
        label_file = label_file_of(path)
        height, width = read_image(path).shape[:2]
        shown.append({"id": number, "file_name": path.name, "width": width, "height": height})
        examples.append(Example(path, number))
        for line, category, values in label_lines(label_file, names) if label_file.is_file() else ():
            try:
                entry = read_line(values, (height, width), described.document)
            except ValueError as error:
                raise _wrong(label_file, line, str(error)) from error
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": category, "iscrowd": 0, **entry}
            )
    if not annotations:
        raise UsageError(f"No image of {data.name} has a label file with objects.", hint=_EXAMPLE)
    truth, notes = truth_of({"images": shown, "annotations": annotations, "categories": categories}, spec)
    return Dataset(tuple(examples), tuple(notes), truth)


@dataclass(frozen=True)
class Description:
    """A ``data.yaml``: its validation images, class names by number, and the document itself."""

    images: tuple[Path, ...]
    names: Mapping[int, str]
    document: Mapping[str, Any]


def read_description(data: Path, images: Path | None) -> Description:
    """``images`` replaces what ``val`` names."""
    from adaptrt.vision.images import find_images

    document = _read(data)
    names = _names(document.get("names"), data)
    paths = find_images(images) if images is not None else _images(data, document)
    return Description(tuple(paths), names, document)


def _read(file: Path) -> dict[str, Any]:
    import msgspec

    if not file.is_file():
        raise UsageError(f"File not found: {file}.", hint=_EXAMPLE)
    if file.stat().st_size > _LARGEST_FILE:
        raise UsageError(f"{file.name} is too large for a data set description.", hint=_EXAMPLE)
    try:
        text = file.read_bytes()
        _require_flat(text)
        document = msgspec.yaml.decode(text)
    except ImportError as error:
        raise DependencyError("Reading a data.yaml requires PyYAML.", hint="pip install pyyaml") from error
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise UsageError(f"{file.name} is not valid YAML: {str(error).splitlines()[0]}.", hint=_EXAMPLE) from error
    if not isinstance(document, dict):
        raise UsageError(f"{file.name} is not a data set description.", hint=_EXAMPLE)
    return document


def _require_flat(text: bytes) -> None:
    """Raise a ``ValueError`` for a deeply nested document: libyaml's loader recurses in C, where it would end the process."""
    import yaml

    depth = 0
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:
                raise ValueError("it is nested too deeply")
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _names(found: Any, file: Path) -> dict[int, str]:
    pairs = enumerate(found) if isinstance(found, list) else found.items() if isinstance(found, dict) else ()
    names = {number: str(name) for number, name in pairs if isinstance(number, int) and isinstance(name, (str, int))}
    if not names or len(names) != len(found) or min(names) < 0:
        raise UsageError(f"{file.name} has no list of class names (names).", hint=_EXAMPLE)
    return names


def _images(data: Path, document: dict[str, Any]) -> list[Path]:
    from adaptrt.vision.images import SUFFIXES as IMAGES
    from adaptrt.vision.images import find_images

    root = Path(str(document.get("path") or "."))
    root = root if root.is_absolute() else data.parent / root
    wanted = document.get("val")
    found: list[Path] = []
    for entry in wanted if isinstance(wanted, list) else [wanted]:
        if not isinstance(entry, str) or "\0" in entry:
            raise UsageError(f"{data.name} does not specify the validation images (val).", hint=_EXAMPLE)
        place = root / entry
        if not place.exists() and entry.startswith("../"):  # Roboflow's files; Ultralytics reads them like this too
            place = root / entry.removeprefix("../")
        if place.is_dir():
            found += [path for path in sorted(place.rglob("*")) if path.suffix.lower() in IMAGES and path.is_file()]
        elif place.suffix == ".txt" and place.is_file():
            lines = place.read_text(encoding="utf-8", errors="replace").splitlines()
            found += [place.parent / line.strip() for line in lines if line.strip()]
        elif place.exists() or glob.has_magic(entry):
            found += find_images(place)
        else:
            raise UsageError(
                f"{data.name}: the validation images (val: {entry}) were not found at {root / entry}.",
                hint="Correct path and val, which are relative to the file, or name the folder with --images.",
            )
    if not found:
        raise UsageError(f"{data.name} does not list any images.", hint=_EXAMPLE)
    return found


def label_file_of(image: Path) -> Path:
    """``labels/`` in place of the last ``images/`` of the path, as Ultralytics looks for it."""
    parts = list(image.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def label_lines(file: Path, names: Mapping[int, str]) -> Iterator[tuple[int, int, list[float]]]:
    """Number of the line, class, and the numbers behind it, of each object."""
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        try:
            category, values = int(float(words[0])), [float(word) for word in words[1:]]
        except (ValueError, OverflowError) as error:
            raise _wrong(file, number, "all values must be numbers") from error
        if category not in names:
            raise _wrong(file, number, f"class {category} has no name")
        if not all(math.isfinite(value) and -1 <= value <= 2 for value in values):
            raise _wrong(file, number, "coordinates must be relative to the image size, 0 to 1")
        yield number, category, values


def _wrong(file: Path, line: int, what: str) -> UsageError:
    return UsageError(
        f"{file.name}, line {line}: {what}.",
        hint="Expected: a class and the values of the task, relative to the image size. See adaptrt evaluate --help.",
    )
