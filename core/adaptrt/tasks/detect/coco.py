"""Reads COCO annotations, and maps their categories to the classes of the model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.errors import UsageError, did_you_mean, in_shell
from adaptrt.quantities import listed
from adaptrt.specs.tasks import Dataset, Example

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adaptrt.specs import ModelSpec

_PLACES = ("instances.json", "annotations.json", "_annotations.coco.json")
_EXAMPLE = "COCO: a JSON file with images, annotations and categories; --images names the folder of the images."


def _is_id(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= _LARGEST  # not NaN either


def _is_area(value: object) -> bool:
    return isinstance(value, (int, float)) and abs(value) <= _LARGEST**2


def _is_box(value: object) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(_is_number, value))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value


_LARGEST = 1e9  # pixels
_ID = ("an integer", _is_id)
# the required keys of each part: a description of the format, and its check
_FIELDS: dict[str, dict[str, tuple[str, Callable[[object], bool]]]] = {
    "images": {"id": _ID, "file_name": ("text", _is_text)},
    "annotations": {"id": _ID, "image_id": _ID, "category_id": _ID, "bbox": ("four numbers (x, y, width, height)", _is_box)},
    "categories": {"id": _ID, "name": ("text", _is_text)},
}  # fmt: skip
_OPTIONAL: dict[str, dict[str, tuple[str, Callable[[object], bool]]]] = {
    "annotations": {"area": ("a number", _is_area), "iscrowd": ("0 or 1", lambda value: value in (0, 1))},
}


@dataclass(frozen=True)
class CocoTruth:
    """``document``: the annotations of the model's classes. ``categories``: the category id of each class."""

    document: dict[str, Any]
    categories: tuple[int, ...]
    names: tuple[str, ...]


def read_coco(data: Path, spec: ModelSpec, images: Path | None) -> Dataset:
    """The images of an annotation file; ``truth`` of an example is its image id, ``context`` a ``CocoTruth``.

    ``data`` is the file, or the folder that contains it. Images are in ``images``, else in ``images/`` next to the file,
    else next to it. A ``file_name`` may be absolute, or lead out of that folder, as other readers of COCO accept it.
    """
    file = _annotation_file(data)
    document = _read(file)
    truth, notes = truth_of({**document, "annotations": list(map(_with_area, document["annotations"]))}, spec)
    folder = _image_folder(file, images)
    examples = []
    for image in document["images"]:
        path = folder / str(image["file_name"])
        if not path.is_file():
            raise UsageError(
                f"{file.name} lists {image['file_name']}, but {folder} does not contain it.",
                hint="Specify its folder: --images DIR",
            )
        examples.append(Example(path, image["id"]))
    return Dataset(tuple(examples), tuple(notes), truth)


def truth_of(document: dict[str, Any], spec: ModelSpec) -> tuple[CocoTruth, list[str]]:
    """Annotations in COCO's form, reduced to the model's classes, and notes about how these were found."""
    categories, names, notes = match_categories(document["categories"], spec.labels)
    wanted = set(categories)
    kept = {
        "annotations": [entry for entry in document["annotations"] if entry["category_id"] in wanted],
        "categories": [entry for entry in document["categories"] if entry["id"] in wanted],
    }
    if not kept["annotations"]:
        notes = [*notes, "no object of the model's classes is labeled: all scores are 0"]
    return CocoTruth({**document, **kept}, categories, names), notes


def _annotation_file(data: Path) -> Path:
    if data.is_dir():
        found = [data / name for name in _PLACES if (data / name).is_file()] or sorted(data.glob("*.json"))
        if len(found) != 1:
            names = ", ".join(path.name for path in found) or "none"
            described = [] if found else [*sorted(data.glob("*.yaml")), *sorted(data.glob("*.yml"))]
            hint = (
                f"For Ultralytics' data sets, pass the file: --data {in_shell(str(described[0]))}"
                if described
                else _EXAMPLE
            )
            raise UsageError(f"{data} must contain one annotation file; found {names}.", hint=hint)
        return found[0]
    if not data.is_file():
        raise UsageError(f"File not found: {data}.", hint=_EXAMPLE)
    return data


def _read(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file.name} is not valid JSON: {error}.", hint=_EXAMPLE) from error
    for part, keys in _FIELDS.items():
        rows = document.get(part) if isinstance(document, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise UsageError(f"{file.name} has no list {part!r}.", hint=_EXAMPLE)
        for row in rows:
            missing = [key for key in keys if key not in row]
            if missing:
                raise UsageError(f"{file.name}: an entry of {part!r} has no {missing[0]!r}.", hint=_EXAMPLE)
            for key, (wanted, fits) in {**keys, **_OPTIONAL.get(part, {})}.items():
                if key in row and not fits(row[key]):
                    raise UsageError(f"{file.name}: {key!r} in {part!r} must be {wanted}; got {_short(row[key])}.")
    if not document["images"]:
        raise UsageError(f"{file.name} lists no images.", hint=_EXAMPLE)
    return document  # type: ignore[no-any-return]


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _with_area(entry: dict[str, Any]) -> dict[str, Any]:
    width, height = entry["bbox"][2:]
    return {**entry, "area": entry.get("area", width * height), "iscrowd": entry.get("iscrowd", 0)}


def match_categories(
    categories: Sequence[dict[str, Any]], labels: Sequence[str]
) -> tuple[tuple[int, ...], tuple[str, ...], list[str]]:
    """The category id of each class: by name, else in order of the ids if there are as many."""
    by_name = {plain_name(str(category["name"])): int(category["id"]) for category in categories}
    ids = [by_name.get(plain_name(label)) for label in labels]
    if labels and all(number is not None for number in ids):
        others = [str(category["name"]) for category in categories if int(category["id"]) not in ids]
        notes = [f"not among the model's classes, skipped: {listed(others, 5)}"] if others else []
        return tuple(number for number in ids if number is not None), tuple(labels), notes
    ordered = sorted(categories, key=lambda category: int(category["id"]))
    if len(ordered) == len(labels) or not labels:
        names = tuple(labels) or tuple(str(category["name"]) for category in ordered)
        note = "category names and class names differ: matched in order of category ids"
        return tuple(int(category["id"]) for category in ordered), names, [note]
    stranger = next(label for label, number in zip(labels, ids, strict=True) if number is None)
    raise UsageError(
        f"The model's class {stranger!r} is not a category of the annotations ({len(categories)} categories, {len(labels)} classes).",
        hint=did_you_mean(stranger, [str(category["name"]) for category in categories]),
    )


def _image_folder(file: Path, images: Path | None) -> Path:
    if images is not None:
        if not images.is_dir():
            raise UsageError(
                f"{images} is not a folder.", hint="--images must be the folder that file_name is relative to."
            )
        return images
    beside = file.parent / "images"
    return beside if beside.is_dir() else file.parent


def plain_name(name: str) -> str:
    """``Traffic_Light`` is ``traffic light``."""
    return name.replace("_", " ").strip().casefold()
