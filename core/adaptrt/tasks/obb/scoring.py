"""Rotated boxes: AP by exact rotated IoU, the area under the monotone curve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt.specs.tasks import Dataset
from adaptrt.tasks.detect.average_precision import area_under_curve
from adaptrt.tasks.detect.scoring import ObjectScoring
from adaptrt.tasks.obb.agreement import rotated_of
from adaptrt.tasks.obb.dataset import LAYOUT, RotatedTruth, read_rotated
from adaptrt.vision.rotated import rotated_iou

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.predictions import RotatedDetections
    from adaptrt.specs import ModelSpec

THRESHOLDS = tuple(0.5 + 0.05 * step for step in range(10))


class RotatedScores:
    """Collects rotated boxes; each is compared with the object of its class that it overlaps most."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self._labels = labels
        self._objects: dict[int, int] = {}
        self._scores: dict[int, list[float]] = {}
        self._hits: dict[int, list[list[int]]] = {}  # by box: 1 right, 0 wrong, -1 not counted, at each threshold
        self._records: list[dict[str, Any]] = []

    def add(self, truth: RotatedTruth, prediction: RotatedDetections) -> None:
        for label in set(truth.labels.tolist()) | set(prediction.labels.tolist()):
            objects, found = truth.labels == label, prediction.labels == label
            counted = int((~truth.difficult[objects]).sum())
            self._objects[label] = self._objects.get(label, 0) + counted
            ious = rotated_iou(rotated_of(prediction)[found], _boxes(truth.polygons[objects]))
            self._scores.setdefault(label, []).extend(float(score) for score in prediction.scores[found])
            self._hits.setdefault(label, []).extend(_hits(ious, truth.difficult[objects]))
        self._records += [
            {
                "label": prediction.name(index),
                "class": int(prediction.labels[index]),
                "score": float(prediction.scores[index]),
                "corners": [[float(x), float(y)] for x, y in prediction.polygons[index]],
            }
            for index in range(len(prediction))
        ]

    def scores(self) -> dict[str, float]:
        """Over the classes that occur in the labels."""
        by_class = [self._precisions(label) for label, count in self._objects.items() if count]
        means = np.mean(by_class, axis=0) if by_class else np.zeros(len(THRESHOLDS))
        return {"mAP50": float(means[0]), "mAP75": float(means[5]), "mAP": float(means.mean())}

    def per_class(self) -> dict[str, dict[str, float]]:
        from adaptrt.predictions import name_of

        table = {}
        for label in sorted(self._objects):
            if self._objects[label]:
                values = self._precisions(label)
                row = {"objects": self._objects[label], "mAP50": float(values[0]), "mAP": float(values.mean())}
                table[name_of(label, self._labels)] = row
        return table

    def records(self) -> list[dict[str, Any]]:
        return self._records

    def _precisions(self, label: int) -> NDArray[np.float64]:
        """AP at each threshold."""
        order = np.argsort(-np.array(self._scores.get(label, []), np.float64), kind="stable")
        hits = np.array(self._hits.get(label, []), np.int64).reshape(-1, len(THRESHOLDS))[order]
        return np.array(
            [area_under_curve([hit == 1 for hit in column if hit >= 0], self._objects[label]) for column in hits.T]
        )


def _hits(ious: NDArray[np.float64], difficult: NDArray[np.bool_]) -> list[list[int]]:
    """For each box, best score first: at each threshold 1, 0, or -1 for one on a difficult object."""
    taken = np.zeros((len(THRESHOLDS), ious.shape[1]), np.bool_)
    rows = []
    for overlaps in ious:
        row = []
        for step, threshold in enumerate(THRESHOLDS):
            best = int(overlaps.argmax()) if len(overlaps) else -1
            if best < 0 or overlaps[best] < threshold:
                row.append(0)
            elif difficult[best]:
                row.append(-1)
            else:
                row.append(int(not taken[step, best]))
                taken[step, best] = True
        rows.append(row)
    return rows


def _boxes(polygons: NDArray[np.float32]) -> NDArray[np.float32]:
    """The smallest rotated boxes around corners: [N, 4, 2] to [N, 5], as Ultralytics reads labels."""
    from adaptrt.vision.opencv import cv2

    boxes = []
    for corners in polygons:
        (x, y), (width, height), angle = cv2.minAreaRect(np.ascontiguousarray(corners, np.float32))
        boxes.append([x, y, width, height, np.deg2rad(angle)])
    return np.array(boxes, np.float32).reshape(-1, 5)


class RotatedScoring(ObjectScoring["RotatedDetections"]):
    """Label files beside the images."""

    layout = f"a folder: {LAYOUT}"

    def read_dataset(self, data: Path, spec: ModelSpec, images: Path | None) -> Dataset:
        return read_rotated(data, spec, images)

    def scorer(self, spec: ModelSpec, dataset: Dataset) -> RotatedScores:
        return RotatedScores(spec.labels)
