"""Instance segmentation: COCO's mAP of masks, and of their boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.errors import UsageError
from adaptrt.specs.tasks import Dataset
from adaptrt.tasks.detect.coco import read_coco
from adaptrt.tasks.detect.scoring import BoxScores, CocoScoring
from adaptrt.tasks.detect.yolo_dataset import SUFFIXES, box_entry, read_yolo
from adaptrt.tasks.segment.rle import coco_mask

if TYPE_CHECKING:
    from adaptrt.predictions import Segments
    from adaptrt.specs import ModelSpec

_EXAMPLE = "COCO format: each annotation has a segmentation (polygons or run lengths)."


class MaskScores(BoxScores):
    """Collects masks as COCO results."""

    kind = "segm"

    def __init__(self, truth: Any) -> None:
        super().__init__(truth)
        self._boxes = BoxScores(truth)

    def add(self, truth: Any, prediction: Segments) -> None:  # type: ignore[override]
        super().add(truth, prediction)
        self._boxes.add(truth, prediction)

    def added(self, prediction: Segments, index: int) -> dict[str, Any]:
        return {"segmentation": coco_mask(prediction.masks[index], prediction.size)}

    def scores(self) -> dict[str, float]:
        masks = {f"mask {name}": value for name, value in self.precisions().items()}
        boxes = {f"box {name}": value for name, value in self._boxes.precisions().items()}
        return masks | boxes | {f"mask {name}": value for name, value in self.recalls().items()}

    def per_class(self) -> dict[str, dict[str, float]]:
        """Of every class that occurs: objects, mAP and mAP50 of masks."""
        return self.class_precisions()


class MaskScoring(CocoScoring["Segments"]):
    """COCO annotations with masks, or Ultralytics' text files with polygons."""

    layout = "a COCO annotation file (.json) with masks, or its folder, with --images as the folder of the images; or Ultralytics' data.yaml, whose label files have a class and a polygon per line"

    def read_dataset(self, data: Path, spec: ModelSpec, images: Path | None) -> Dataset:
        if data.suffix.lower() in SUFFIXES:
            return read_yolo(data, spec, images, polygon_entry)
        dataset = read_coco(data, spec, images)
        sizes = {image["id"]: (image.get("height"), image.get("width")) for image in dataset.context.document["images"]}
        for entry in dataset.context.document["annotations"]:
            _require_mask(entry, sizes.get(entry["image_id"], (None, None)))
        return dataset

    def scorer(self, spec: ModelSpec, dataset: Dataset) -> MaskScores:
        return MaskScores(dataset.context)


def polygon_entry(values: Sequence[float], size: tuple[int, int], document: Mapping[str, Any]) -> dict[str, Any]:
    """A line of x and y of the points of a polygon, relative to the image size."""
    if len(values) < 6 or len(values) % 2:
        raise ValueError(f"{len(values)} numbers after the class are not a polygon of at least three points")
    height, width = size
    xs, ys = [x * width for x in values[::2]], [y * height for y in values[1::2]]
    following = zip(xs[1:] + xs[:1], ys[1:] + ys[:1], strict=True)
    twice = sum(x * v - y * u for (x, y), (u, v) in zip(zip(xs, ys, strict=True), following, strict=True))
    points = [value for pair in zip(xs, ys, strict=True) for value in pair]
    return {**box_entry(values, size, document), "area": abs(twice) / 2, "segmentation": [points]}


def _require_mask(entry: dict[str, Any], size: tuple[Any, Any]) -> None:
    """A ``UsageError`` unless the entry has polygons, or run lengths that fill its image: what scores them checks nothing."""
    where = f"annotation {entry['id']}"
    given = entry.get("segmentation")
    if isinstance(given, list) and given and all(_is_polygon(part) for part in given):
        if not all(type(side) is int and 0 < side < 1 << 16 for side in size):
            raise UsageError(
                f"The image of {where} has no height and width, which are required for polygons.", hint=_EXAMPLE
            )
        return
    if isinstance(given, dict) and _are_run_lengths(given, size):
        return
    raise UsageError(f"The segmentation of {where} is missing or invalid.", hint=_EXAMPLE)


def _is_polygon(part: Any) -> bool:
    return (
        isinstance(part, list)
        and len(part) >= 6
        and len(part) % 2 == 0
        and all(isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e6 for value in part)
    )


def _are_run_lengths(given: dict[str, Any], size: tuple[Any, Any]) -> bool:
    from adaptrt.errors import ModelError
    from adaptrt.tasks.segment.rle import decompress

    counts, own = given.get("counts"), given.get("size")
    if not isinstance(own, list) or len(own) != 2 or not all(type(side) is int and 0 < side < 1 << 16 for side in own):
        return False
    if None not in size and tuple(own) != tuple(size):
        return False
    if isinstance(counts, str):
        try:
            counts = decompress(counts)
        except ModelError:
            return False
    return (
        isinstance(counts, list)
        and all(type(count) is int and count >= 0 for count in counts)
        and sum(counts) == own[0] * own[1]
    )
