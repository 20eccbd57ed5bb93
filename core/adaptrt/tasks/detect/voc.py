"""Reads PASCAL VOC data sets: an XML file of boxes for each image."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from adaptrt.errors import UsageError, did_you_mean
from adaptrt.specs.tasks import Dataset, Example
from adaptrt.tasks.detect.coco import plain_name, truth_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adaptrt.specs import ModelSpec

ANNOTATIONS, IMAGES, LISTS = "Annotations", "JPEGImages", ("ImageSets", "Main")
_EXAMPLE = (
    "VOC: a folder with Annotations/ (an .xml for each image) and JPEGImages/, or a list of it: ImageSets/Main/val.txt."
)
_LARGEST_FILE = 1 << 22
_LARGEST = 1e6  # pixels


def is_voc(data: Path) -> bool:
    """Whether ``--data`` names a VOC data set: its folder, a folder of XML files, or a list of images."""
    if data.is_dir():
        return (data / ANNOTATIONS).is_dir() or (not any(data.glob("*.json")) and any(data.glob("*.xml")))
    return data.suffix.lower() == ".txt" and (_root_of(data) / ANNOTATIONS).is_dir()


def read_voc(data: Path, spec: ModelSpec, images: Path | None) -> Dataset:
    """The images of a VOC data set; context and examples are those of ``read_coco``.

    ``data`` is the data set's folder, a list in its ``ImageSets/Main``, or a folder of XML files; images are in ``images``,
    else in ``JPEGImages/`` or ``images/``, else beside the XML files. Corners count pixels from 1 and belong to the box. An
    object that is ``difficult`` is neither required nor wrong.
    """
    files = _xml_files(data)
    root = data if data.is_dir() else _root_of(data)
    shown: list[dict[str, Any]] = []
    examples: list[Example] = []
    found: list[tuple[int, str, tuple[float, float, float, float], bool]] = []
    for number, file in enumerate(files, start=1):
        document = _parse(file)
        path = _image(file, document, root, images)
        shown.append({"id": number, "file_name": path.name, **_size(file, document)})
        examples.append(Example(path, number))
        found += [(number, *_object(file, entry)) for entry in document.iter("object")]
    if not found:
        raise UsageError(f"No XML file of {data} has an object.", hint=_EXAMPLE)
    numbers = _categories(spec.labels, [name for _, name, _, _ in found])
    annotations = [
        {
            "id": index + 1,
            "image_id": image,
            "category_id": numbers[plain_name(name)],
            "bbox": list(box),
            "area": box[2] * box[3],
            "iscrowd": int(difficult),
        }
        for index, (image, name, box, difficult) in enumerate(found)
    ]
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    truth, notes = truth_of({"images": shown, "annotations": annotations, "categories": categories}, spec)
    return Dataset(tuple(examples), tuple(notes), truth)


def _categories(labels: Sequence[str], names: Sequence[str]) -> dict[str, int]:
    """A number for each class, the model's first: a validation set need not hold all of them.

    A VOC data set has names only, so that at least one of them has to be the model's.
    """
    known = list(dict.fromkeys(map(plain_name, labels)))
    own = list(dict.fromkeys(map(plain_name, names)))
    if labels and not set(known) & set(own):
        raise UsageError(
            f"No class of the XML files is a class of the model: {', '.join(own[:5])}.",
            hint=f"{did_you_mean(own[0], labels)} Classes are matched by name: --names gives the model's.",
        )
    return {name: number for number, name in enumerate(dict.fromkeys([*known, *own]))}


def _root_of(listed: Path) -> Path:
    """``VOC2007`` for ``VOC2007/ImageSets/Main/val.txt``; the folder of a list that is kept elsewhere."""
    return listed.parent.parent.parent if listed.parent.parts[-2:] == LISTS else listed.parent


def _xml_files(data: Path) -> list[Path]:
    if data.is_dir():
        folder = data / ANNOTATIONS if (data / ANNOTATIONS).is_dir() else data
        return sorted(folder.glob("*.xml"))
    folder = _root_of(data) / ANNOTATIONS
    try:
        lines = data.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{data} cannot be read: {error}.", hint=_EXAMPLE) from error
    names = [words[0] for line in lines if (words := line.split())]
    files = [folder / f"{name}.xml" for name in names]
    missing = next((file for file in files if not file.is_file()), None)
    if missing is not None or not files:
        raise UsageError(
            f"{data.name} lists {missing.stem}, and {missing} does not exist." if missing else f"{data.name} is empty.",
            hint=_EXAMPLE,
        )
    return files


def _parse(file: Path) -> Element:
    """The document; a document type, whose entities could make it grow without bound, is refused."""
    builder, parser = TreeBuilder(), expat.ParserCreate()

    def refuse(*_: object) -> None:
        raise UsageError(f"{file.name} has a document type declaration, which VOC files do not have.", hint=_EXAMPLE)

    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    if file.stat().st_size > _LARGEST_FILE:
        raise UsageError(f"{file.name} is too large for the boxes of an image.", hint=_EXAMPLE)
    try:
        parser.Parse(file.read_bytes(), True)
        document = builder.close()
    except (expat.ExpatError, ValueError, LookupError, AssertionError) as error:
        raise UsageError(f"{file.name} is not valid XML: {error}.", hint=_EXAMPLE) from error
    if document.tag != "annotation":
        raise UsageError(f"{file.name} is not a VOC file: its root is <{document.tag[:40]}>.", hint=_EXAMPLE)
    return document


def _image(file: Path, document: Element, root: Path, images: Path | None) -> Path:
    from adaptrt.vision.images import SUFFIXES

    name = Path((document.findtext("filename") or "").replace("\\", "/").replace("\0", "")).name
    folders = [images] if images is not None else [root / IMAGES, root / "images", file.parent]
    names = dict.fromkeys([*([name] if name else []), *(f"{file.stem}{suffix}" for suffix in SUFFIXES)])
    for folder in folders:
        for candidate in names:
            if (folder / candidate).is_file():
                return folder / candidate
    raise UsageError(
        f"The image of {file.name} ({name or file.stem}) is not in {' or '.join(map(str, folders[:2]))}.",
        hint="Specify its folder: --images DIR",
    )


def _size(file: Path, document: Element) -> dict[str, int]:
    """Of the image, as the file says it; empty where it does not."""
    sides = [document.findtext(f"size/{name}") for name in ("width", "height")]
    if None in sides:
        return {}
    width, height = (_number(file, str(side)) for side in sides)
    return {"width": int(width), "height": int(height)}


def _object(file: Path, entry: Element) -> tuple[str, tuple[float, float, float, float], bool]:
    """Class, left, top, width and height in pixels, and whether it is difficult."""
    name = (entry.findtext("name") or "").strip()
    corners = [entry.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
    if not name or None in corners:
        raise UsageError(f"An object of {file.name} has no name or no bndbox.", hint=_EXAMPLE)
    left, top, right, bottom = (_number(file, str(corner)) for corner in corners)
    if right < left or bottom < top:
        raise UsageError(f"{file.name}: the box of {name!r} ends before it starts.", hint=_EXAMPLE)
    difficult = (entry.findtext("difficult") or "0").strip() not in ("0", "")
    return name, (left - 1, top - 1, right - left + 1, bottom - top + 1), difficult


def _number(file: Path, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= _LARGEST:
        raise UsageError(f"{file.name}: {text.strip()[:40]!r} is not a number of pixels.", hint=_EXAMPLE)
    return value
