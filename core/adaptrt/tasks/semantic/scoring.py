"""Semantic segmentation: images and masks of class indices; mIoU and pixel accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt.errors import DependencyError, ImageError, UsageError
from adaptrt.specs.tasks import Dataset, Example, Scoring
from adaptrt.tasks.semantic.agreement import MOST_CLASSES, class_ious, confusion
from adaptrt.tasks.semantic.records import record_map

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.predictions import SemanticMap
    from adaptrt.specs import ModelSpec

IGNORED = 255
FOLDERS = ("masks", "labels")
_LAYOUT = "data/images/a.jpg and data/masks/a.png (or labels/), a PNG of class indices; 255 is ignored"
_LARGE = 0.01  # minimum share of the image for which two backends must agree that a class is present


def read_masks(data: Path, images: Path | None = None) -> Dataset:
    """``data/images/**`` with a mask of the same relative name in ``data/masks`` or ``data/labels``.

    ``truth`` of an example is the path of its mask. Images without a mask are skipped.
    """
    from adaptrt.vision.images import SUFFIXES

    if not data.is_dir():
        raise UsageError(f"{data} is not a folder.", hint=f"Semantic segmentation expects {_LAYOUT}.")
    folder = images or data / "images"
    masks = next((data / name for name in FOLDERS if (data / name).is_dir()), None)
    if masks is None or not folder.is_dir():
        missing = f"{folder}" if masks is not None else " or ".join(str(data / name) for name in FOLDERS)
        raise UsageError(f"Folder not found: {missing}.", hint=f"Semantic segmentation expects {_LAYOUT}.")
    examples, without = [], 0
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in SUFFIXES or not path.is_file():
            continue
        mask = masks / path.relative_to(folder).with_suffix(".png")
        if mask.is_file():
            examples.append(Example(path, mask))
        else:
            without += 1
    if not examples:
        raise UsageError(f"{folder} has no image with a mask in {masks}.", hint=f"Expected: {_LAYOUT}.")
    notes = (f"{without} images without a mask are skipped",) if without else ()
    return Dataset(tuple(examples), notes)


def read_mask(path: Path) -> NDArray[np.int32]:
    """int32 [H, W], class indices: gray values, or the indices of a palette (which OpenCV would turn into colors)."""
    try:
        from PIL import Image
    except ImportError as error:
        raise DependencyError("Reading masks requires Pillow.", hint="pip install pillow") from error
    try:
        with Image.open(path) as mask:
            if mask.mode not in ("P", "L", "I", "I;16", "1"):
                raise ImageError(
                    f"{path} has colors (mode {mask.mode}), not class indices.",
                    hint="A mask must be a PNG with one channel, or with a palette, whose values are class indices.",
                )
            return np.array(mask).astype(np.int32)
    # ImportError: Ultralytics wraps Image.open, and imports a decoder for what Pillow cannot identify
    except (OSError, ValueError, ImportError, Image.DecompressionBombError) as error:
        raise ImageError(f"{path} cannot be read: {error}.") from error


class MaskScores:
    """Pixels by true and predicted class, over all images."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        _require_few(len(labels), "The model")
        self._labels = labels
        self._counts = np.zeros((len(labels), len(labels)), np.int64)
        self._records: list[dict[str, Any]] = []

    def add(self, truth: Path, prediction: SemanticMap) -> None:
        mask, found = read_mask(truth), prediction.labels
        if mask.shape != found.shape:
            height, width = mask.shape
            raise ImageError(
                f"{truth} is {width} x {height}, but its image is {found.shape[1]} x {found.shape[0]}.",
                hint="A mask must have the size of its image.",
            )
        counted = mask != IGNORED
        largest = int(mask[counted].max(initial=0))
        if int(mask[counted].min(initial=0)) < 0:
            raise UsageError(
                f"{truth} contains negative numbers.", hint="Masks must contain class indices starting at 0."
            )
        if self._labels and largest >= len(self._labels):
            raise UsageError(
                f"{truth} contains class {largest}; the model has {len(self._labels)} classes.",
                hint=f"Masks must contain class indices starting at 0; {IGNORED} is ignored.",
            )
        predicted = int(found.max(initial=0)) + 1
        _require_few(largest + 1, str(truth))
        _require_few(predicted, "The prediction of the model")
        classes = max(len(self._counts), largest + 1, predicted)
        grown = classes - len(self._counts)
        self._counts = np.pad(self._counts, (0, grown)) + confusion(mask[counted], found[counted], classes)
        self._records.append({"mask": truth.name, **record_map(prediction)})

    def scores(self) -> dict[str, float]:
        """``mIoU``: mean over the classes that occur in masks or predictions."""
        ious = class_ious(self._counts)
        known = ious[~np.isnan(ious)]
        total = max(int(self._counts.sum()), 1)
        return {
            "mIoU": float(known.mean()) if known.size else 0.0,
            "pixel accuracy": float(self._counts.diagonal().sum() / total),
        }

    def per_class(self) -> dict[str, dict[str, float]]:
        """For every class that occurs in the masks: pixels and IoU."""
        pixels, ious = self._counts.sum(1), class_ious(self._counts)
        return {
            self._name(label): {"pixels": int(pixels[label]), "IoU": float(ious[label])}
            for label in range(len(pixels))
            if pixels[label]
        }

    def records(self) -> list[dict[str, Any]]:
        return self._records

    def _name(self, label: int) -> str:
        from adaptrt.predictions import name_of

        return name_of(label, self._labels)


def _require_few(classes: int, what: str) -> None:
    if classes > MOST_CLASSES:
        raise UsageError(
            f"{what} has {classes} classes; at most {MOST_CLASSES} can be scored.",
            hint=f"Masks and predictions must contain class indices starting at 0; {IGNORED} is ignored.",
        )


class MaskScoring(Scoring["SemanticMap"]):
    """Images with masks."""

    layout = "a folder with images/ and masks/ (or labels/): PNG masks of class indices, named like their images"

    def read_dataset(self, data: Path, spec: ModelSpec, images: Path | None) -> Dataset:
        return read_masks(data, images)

    def scorer(self, spec: ModelSpec, dataset: Dataset) -> MaskScores:
        return MaskScores(spec.labels)

    def answer(self, prediction: SemanticMap) -> Any:
        """The classes that cover at least 1 % of the image."""
        return sorted(label for label, area in prediction.areas().items() if area >= _LARGE * prediction.labels.size)
