"""Rotated boxes in files: DOTA's ``labelTxt``, or Ultralytics' ``labels``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from adaptrt.errors import ImageError, UsageError, did_you_mean
from adaptrt.specs.tasks import Dataset, Example
from adaptrt.tasks.detect.coco import match_categories
from adaptrt.tasks.detect.yolo_dataset import SUFFIXES as YAML
from adaptrt.tasks.detect.yolo_dataset import label_file_of, label_lines, read_description

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from adaptrt.specs import ModelSpec

FOLDERS = ("labelTxt", "labels")
LAYOUT = "data/images/a.jpg and data/labelTxt/a.txt (DOTA: four corners, class, difficulty) or data/labels/a.txt (Ultralytics), or Ultralytics' data.yaml"
_LARGEST = 1e6  # pixels


@dataclass(frozen=True, eq=False)
class RotatedTruth:
    """``polygons``: [N, 4, 2], pixels. ``difficult``: ignored in scoring."""

    polygons: NDArray[np.float32]
    labels: NDArray[np.int64]
    difficult: NDArray[np.bool_]


def read_rotated(data: Path, spec: ModelSpec, images: Path | None = None) -> Dataset:
    """``data/images/**`` with a file of the same relative name in ``data/labelTxt`` or ``data/labels``, or a ``data.yaml``."""
    from adaptrt.vision.images import SUFFIXES, read_image

    if data.suffix.lower() in YAML:
        return _read_yaml(data, spec, images)
    if not data.is_dir():
        raise UsageError(f"{data} is not a folder.", hint=f"Expected: {LAYOUT}.")
    folder = images or data / "images"
    labels = next((data / name for name in FOLDERS if (data / name).is_dir()), None)
    if labels is None or not folder.is_dir():
        missing = f"{folder}" if labels is not None else " or ".join(str(data / name) for name in FOLDERS)
        raise UsageError(f"Folder not found: {missing}.", hint=f"Expected: {LAYOUT}.")
    dota = labels.name == "labelTxt"
    examples, without = [], 0
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in SUFFIXES or not path.is_file():
            continue
        file = labels / path.relative_to(folder).with_suffix(".txt")
        if not file.is_file():
            without += 1
            continue
        size = (1, 1) if dota else read_image(path).shape[:2]
        examples.append(Example(path, _read(file, spec.labels, dota, (int(size[0]), int(size[1])))))
    if not examples:
        raise UsageError(f"{folder} has no image with labels in {labels}.", hint=f"Expected: {LAYOUT}.")
    notes = (f"{without} images without a label file are skipped",) if without else ()
    return Dataset(tuple(examples), notes)


def _read_yaml(data: Path, spec: ModelSpec, images: Path | None) -> Dataset:
    """The validation images of a ``data.yaml``; lines are a class and x and y of four corners, relative to the image size."""
    from adaptrt.vision.images import read_image

    described = read_description(data, images)
    categories = [{"id": number, "name": name} for number, name in described.names.items()]
    numbers, _, notes = match_categories(categories, spec.labels)
    classes = {number: index for index, number in enumerate(numbers)}
    examples = []
    for path in described.images:
        file, (height, width) = label_file_of(path), read_image(path).shape[:2]
        polygons, labels = [], []
        for line, category, values in label_lines(file, described.names) if file.is_file() else ():
            if len(values) != 8:
                raise UsageError(f"{file}, line {line}, is not a class and four corners.", hint=f"Expected: {LAYOUT}.")
            if category in classes:
                polygons.append(np.reshape(values, (4, 2)) * [width, height])
                labels.append(classes[category])
        corners = np.array(polygons, np.float32).reshape(-1, 4, 2)
        truth = RotatedTruth(corners, np.array(labels, np.int64), np.zeros(len(labels), np.bool_))
        examples.append(Example(path, truth))
    if not any(len(example.truth.labels) for example in examples):
        raise UsageError(f"No image of {data.name} has a label file with objects.", hint=f"Expected: {LAYOUT}.")
    return Dataset(tuple(examples), tuple(notes))


def _read(file: Path, labels: Sequence[str], dota: bool, size: tuple[int, int]) -> RotatedTruth:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ImageError(f"{file} cannot be read: {error}.") from error
    polygons, classes, difficult = [], [], []
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or (dota and words[0].partition(":")[0] in ("imagesource", "gsd")):
            continue
        corners, name, hard = _words(words, dota)
        if corners is None:
            raise UsageError(f"{file}, line {number}: expected four corners and a class.", hint=f"Expected: {LAYOUT}.")
        classes.append(_class(name, labels, f"{file}, line {number}"))
        polygons.append(corners if dota else corners * np.array([size[1], size[0]], np.float32))
        difficult.append(hard)
    return RotatedTruth(
        np.array(polygons, np.float32).reshape(-1, 4, 2), np.array(classes, np.int64), np.array(difficult, np.bool_)
    )


def _words(words: list[str], dota: bool) -> tuple[NDArray[np.float32] | None, str, bool]:
    """Corners [4, 2], class, and whether it is difficult; no corners if the line is invalid."""
    numbers, name = (words[:8], words[8] if len(words) > 8 else "") if dota else (words[1:9], words[0])
    try:
        values = [float(word) for word in numbers]
    except ValueError:
        return None, name, False
    if len(values) != 8 or not name or not all(math.isfinite(value) and abs(value) <= _LARGEST for value in values):
        return None, name, False
    return np.array(values, np.float32).reshape(4, 2), name, dota and words[9:10] not in ([], ["0"])


def _class(name: str, labels: Sequence[str], where: str) -> int:
    plain = {label.replace("_", " ").strip().casefold(): index for index, label in enumerate(labels)}
    found = plain.get(name.replace("_", " ").replace("-", " ").strip().casefold(), plain.get(name.casefold()))
    if found is not None:
        return found
    if name.isdecimal() and (not labels or int(name) < len(labels)):
        return int(name)
    raise UsageError(f"{where}: the model has no class {name!r}.", hint=did_you_mean(name, labels))
