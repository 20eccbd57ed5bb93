"""What the tasks that find objects have in common: boxes with a class and a score."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from adaptrt.errors import ModelError, UsageError, did_you_mean
from adaptrt.predictions import Detections, name_in_text
from adaptrt.specs.tasks import Found, Task
from adaptrt.tasks.arrays import INTEGERS, malformed_array, malformed_labels
from adaptrt.tasks.exports import box_numbers, coco_file, csv_file, yolo_files
from adaptrt.tasks.records import array_of, names_of

if TYPE_CHECKING:
    from adaptrt.specs import ModelSpec

D = TypeVar("D", bound=Detections)

# of every table of objects; a task adds its own
COLUMNS = ("label", "class", "score")


class ObjectTask(Task[D], Generic[D]):
    """A task whose predictions are ``Detections``, or a subclass of it.

    ``rows``: the key under which ``data`` lists the objects. A task adds to ``object_data`` (what JSON and tables say of
    one object), ``record`` and ``read_record``, and ``label_numbers`` (what ``txt`` says of one).
    """

    formats: tuple[str, ...] = ("json", "coco", "txt", "csv", "crop")
    empty_reason = "nothing was detected in the image on either side: use an image with objects, or lower --set conf"
    decoded_in_graph = True
    rows = "detections"

    def describe(self, prediction: D) -> str:
        names = [name_in_text(prediction.name(index)) for index in range(len(prediction))]
        return ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names)) or "nothing"

    def above(self, prediction: D, score: float) -> D:
        return prediction.at(prediction.scores > score)

    def is_empty(self, prediction: D) -> bool:
        return not len(prediction)

    def data(self, prediction: D) -> dict[str, Any]:
        """Boxes: x1 y1 x2 y2, in pixels of the image."""
        return {self.rows: [self.object_data(prediction, index) for index in range(len(prediction))]}

    def object_data(self, prediction: D, index: int) -> dict[str, Any]:
        """One object as JSON data."""
        return {
            "label": prediction.name(index),
            "class": int(prediction.labels[index]),
            "score": round(float(prediction.scores[index]), 6),
            "box": [round(float(side), 3) for side in prediction.boxes[index]],
        }

    def record(self, prediction: D) -> dict[str, Any]:
        return {
            "scores": [round(float(score), 6) for score in prediction.scores],
            "labels": [int(label) for label in prediction.labels],
            "names": prediction.names,
            "boxes": [[round(float(side), 3) for side in box] for box in prediction.boxes],
        }

    def export(self, format: str, found: Sequence[Found[D]]) -> Iterator[tuple[str, bytes]]:  # noqa: A002
        if format not in self.formats:
            raise UsageError(
                f"Predictions of task {self.name!r} cannot be written as {format!r}.",
                hint=did_you_mean(format, self.formats),
            )
        if format == "json":
            yield from super().export(format, found)
        elif format == "crop":
            yield from crops(found)
        elif format == "csv":
            header = self.header([one.prediction for one in found])
            yield "predictions.csv", csv_file(found, [*COLUMNS, *header], self._table_rows)
        elif format == "coco":
            yield "predictions.json", coco_file(found, self)
        else:
            yield from yolo_files(found, self.label_numbers)

    def label_numbers(self, prediction: D, index: int, size: tuple[int, int]) -> Sequence[float]:
        """One object in Ultralytics' label format, between class and score; relative to ``size`` (height, width)."""
        return box_numbers(prediction, index, size)

    def tabulate(self, prediction: D) -> tuple[list[str], list[list[Any]]]:
        return [*COLUMNS, *self.header([prediction])], self._table_rows(prediction)

    def _table_rows(self, prediction: D) -> list[list[Any]]:
        return [
            [
                prediction.name(index),
                int(prediction.labels[index]),
                round(float(prediction.scores[index]), 6),
                *self.columns(prediction, index),
            ]
            for index in range(len(prediction))
        ]

    def header(self, predictions: Sequence[D]) -> list[str]:
        """Names of ``columns``."""
        return ["x1", "y1", "x2", "y2"]

    def columns(self, prediction: D, index: int) -> list[Any]:
        """Table columns of one object besides its class and score; pixels of the image."""
        return [round(float(side), 3) for side in prediction.boxes[index]]

    def coco_entries(self, prediction: D, image_id: int | str) -> list[dict[str, Any]]:
        if "coco" not in self.formats:
            return super().coco_entries(prediction, image_id)
        entries = []
        for index in range(len(prediction)):
            left, top, right, bottom = (round(float(side), 3) for side in prediction.boxes[index])
            box = [left, top, right - left, bottom - top]
            entry = {"image_id": image_id, "category_id": int(prediction.labels[index]), "bbox": box}
            score = round(float(prediction.scores[index]), 6)
            entries.append({**entry, "score": score, **self.coco_object(prediction, index)})
        return entries

    def coco_object(self, prediction: D, index: int) -> dict[str, Any]:
        """What the COCO entry of one object contains besides its box."""
        return {}

    def to_supervision(self, prediction: D, supervision: Any) -> Any:
        names = np.array([prediction.name(index) for index in range(len(prediction))], dtype=str)
        return supervision.Detections(
            xyxy=prediction.boxes,
            confidence=prediction.scores,
            class_id=prediction.labels,
            mask=self.supervision_masks(prediction),
            data={"class_name": names, **self.supervision_data(prediction)},
        )

    def supervision_masks(self, prediction: D) -> Any:
        """bool [N, H, W], or ``None``."""
        return None

    def supervision_data(self, prediction: D) -> dict[str, Any]:
        """Entries of ``supervision.Detections.data`` besides the class names."""
        return {}

    def malformed(self, prediction: D, spec: ModelSpec, size: tuple[int, int] | None = None) -> str | None:
        scores = prediction.scores
        return (
            malformed_array("scores", scores, (None,))
            or malformed_array("boxes", prediction.boxes, (len(scores), 4))
            or malformed_array("labels", prediction.labels, (len(scores),), INTEGERS)
            or malformed_labels(prediction.labels, spec)
        )

    def problems(self, prediction: D, spec: ModelSpec, size: tuple[int, int]) -> list[str]:
        if found := super().problems(prediction, spec, size):
            return found
        height, width = size
        if (np.diff(prediction.scores) > 0).any():
            found.append("scores must be in descending order")
        if not ((prediction.boxes >= 0) & (prediction.boxes <= [width, height, width, height])).all():
            found.append("boxes extend beyond the image: clip them")
        return found


def read_boxes(record: Mapping[str, Any]) -> Detections:
    """What ``ObjectTask.record`` wrote."""
    boxes, scores = array_of(record, "boxes", np.float32, 4), array_of(record, "scores", np.float32)
    labels = array_of(record, "labels", np.int64)
    if not len(boxes) == len(scores) == len(labels):
        raise ModelError(
            f"A record has {len(boxes)} boxes, {len(scores)} scores and {len(labels)} labels; the numbers must be equal."
        )
    return Detections(boxes, scores, labels, names_of(record))


def crops(found: Sequence[Found[Any]]) -> Iterator[tuple[str, bytes]]:
    """Each object cut out of its image as a JPEG, in a folder named after its class: ``cat/000042-1.jpg``."""
    from adaptrt.vision.images import read_image
    from adaptrt.vision.opencv import cv2

    for one in found:
        if not len(one.prediction):
            continue
        image, counts = read_image(one.path), dict[str, int]()
        for index, box in enumerate(one.prediction.boxes):
            left, top = (max(int(side), 0) for side in box[:2])
            right, bottom = (int(np.ceil(side)) for side in box[2:])
            cut = image[top:bottom, left:right]
            if not cut.size:
                continue
            folder = folder_name(one.prediction.name(index))
            counts[folder] = counts.get(folder, 0) + 1
            name = f"{folder}/{one.name}-{counts[folder]}.jpg"
            yield name, bytes(cv2.imencode(".jpg", np.ascontiguousarray(cut[..., ::-1]))[1])


def folder_name(label: str) -> str:
    """A class name that is safe as a folder's: a file may call its classes anything."""
    return re.sub(r"[^\w-]+", "_", label).strip("_")[:80] or "class"
