"""Keypoints: COCO's mAP by object keypoint similarity, and of boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.errors import UsageError
from adaptrt.specs.tasks import Dataset
from adaptrt.tasks.detect.coco import read_coco
from adaptrt.tasks.detect.scoring import BoxScores, CocoScoring
from adaptrt.tasks.detect.yolo_dataset import SUFFIXES, box_entry, read_yolo
from adaptrt.tasks.pose.similarity import sigmas

if TYPE_CHECKING:
    from adaptrt.predictions import Poses
    from adaptrt.specs import ModelSpec


class KeypointScores(BoxScores):
    """Collects keypoints as COCO results."""

    kind = "keypoints"

    def __init__(self, truth: Any) -> None:
        super().__init__(truth)
        self._boxes = BoxScores(truth)
        counts = {len(entry["keypoints"]) // 3 for entry in truth.document["annotations"]}
        self._count = counts.pop() if counts else 0

    def add(self, truth: Any, prediction: Poses) -> None:  # type: ignore[override]
        if len(prediction) and self._count and prediction.points.shape[1] != self._count:
            raise UsageError(
                f"The model predicts {prediction.points.shape[1]} keypoints, but the annotations have {self._count}.",
                hint="Annotations and model must have the same keypoints, in the same order.",
            )
        super().add(truth, prediction)
        self._boxes.add(truth, prediction)

    def added(self, prediction: Poses, index: int) -> dict[str, Any]:
        return {"keypoints": [float(value) for value in prediction.points[index].ravel()]}

    def settings(self) -> dict[str, Any]:
        return {"kpt_oks_sigmas": sigmas(self._count).tolist()}

    def scores(self) -> dict[str, float]:
        poses = {f"pose {name}": value for name, value in self.precisions().items()}
        return poses | {f"box {name}": value for name, value in self._boxes.precisions().items()}

    def per_class(self) -> dict[str, dict[str, float]]:
        """Of every class that occurs: objects, mAP and mAP50 of keypoints."""
        return self.class_precisions()


class KeypointScoring(CocoScoring["Poses"]):
    """COCO annotations with keypoints, or Ultralytics' text files with them."""

    layout = "a COCO annotation file (.json) with keypoints, or its folder, with --images as the folder of the images; or Ultralytics' data.yaml with kpt_shape, whose label files have a class, a box and keypoints per line"

    def read_dataset(self, data: Path, spec: ModelSpec, images: Path | None) -> Dataset:
        if data.suffix.lower() in SUFFIXES:
            return read_yolo(data, spec, images, keypoint_entry)
        dataset = read_coco(data, spec, images)
        lengths = set()
        for entry in dataset.context.document["annotations"]:
            given = entry.get("keypoints")
            if not isinstance(given, list) or len(given) % 3 or not given or not all(map(_is_number, given)):
                raise UsageError(
                    f"The keypoints of annotation {entry['id']} are missing or invalid.",
                    hint="COCO format: x, y and visibility (0, 1 or 2) of each keypoint.",
                )
            entry["num_keypoints"] = sum(value > 0 for value in given[2::3])
            lengths.add(len(given))
        if len(lengths) > 1:
            raise UsageError(f"Annotations differ in their number of keypoints: {sorted(n // 3 for n in lengths)}.")
        return dataset

    def scorer(self, spec: ModelSpec, dataset: Dataset) -> KeypointScores:
        return KeypointScores(dataset.context)


def keypoint_entry(values: Sequence[float], size: tuple[int, int], document: Mapping[str, Any]) -> dict[str, Any]:
    """A line of cx cy w h, then x and y (and visibility) of each keypoint; ``kpt_shape`` of the data.yaml says how many.

    Without visibility every point is visible, except one at 0, 0, which Ultralytics writes for a point that is not there.
    """
    shape = document.get("kpt_shape")
    if not (
        isinstance(shape, list) and len(shape) == 2 and all(type(one) is int for one in shape) and shape[1] in (2, 3)
    ):
        raise ValueError("the data.yaml has no kpt_shape: [keypoints, 2 or 3]")
    count, numbers = shape
    if len(values) != 4 + count * numbers:
        raise ValueError(
            f"a box and {count} keypoints are {4 + count * numbers} numbers after the class, not {len(values)}"
        )
    points: list[float] = []
    for start in range(4, len(values), numbers):
        x, y, *seen = values[start : start + numbers]
        visible = seen[0] if seen else 2.0 * bool(x or y)
        points += [x * size[1], y * size[0], visible]
    entry = box_entry(values[:4], size, document)
    return {**entry, "keypoints": points, "num_keypoints": sum(value > 0 for value in points[2::3])}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e6
