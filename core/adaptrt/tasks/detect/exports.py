"""Exports boxes to the file formats of other tools."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from adaptrt.tasks.exports import csv_file

if TYPE_CHECKING:
    from adaptrt.predictions import Detections
    from adaptrt.specs.tasks import Found


def coco_file(found: Sequence[Found[Detections]]) -> bytes:
    """COCO results: ``image_id`` is the file's name as a number if it is one, ``category_id`` the class."""
    results = []
    for one in found:
        image_id = int(one.name) if one.name.isdecimal() else one.name
        for box, score, label in zip(one.prediction.boxes, one.prediction.scores, one.prediction.labels, strict=True):
            left, top, right, bottom = (round(float(side), 3) for side in box)
            entry = {"image_id": image_id, "category_id": int(label), "bbox": [left, top, right - left, bottom - top]}
            results.append({**entry, "score": round(float(score), 6)})
    return json.dumps(results).encode()


def yolo_files(found: Sequence[Found[Detections]]) -> Iterator[tuple[str, bytes]]:
    """One file per image, in Ultralytics' label format: class, center x and y, width, height (0 to 1), score."""
    for one in found:
        height, width = one.size
        lines = []
        for box, score, label in zip(one.prediction.boxes, one.prediction.scores, one.prediction.labels, strict=True):
            left, top, right, bottom = map(float, box)
            center = ((left + right) / 2 / width, (top + bottom) / 2 / height)
            sides = ((right - left) / width, (bottom - top) / height)
            lines.append(" ".join([str(int(label)), *(f"{value:.6g}" for value in (*center, *sides, float(score)))]))
        yield f"{one.name}.txt", "".join(f"{line}\n" for line in lines).encode()


def table_file(found: Sequence[Found[Detections]]) -> bytes:
    """One row per box, in pixels of the image."""
    rows = [
        [
            str(one.path),
            one.prediction.name(index),
            int(one.prediction.labels[index]),
            round(float(one.prediction.scores[index]), 6),
            *(round(float(side), 3) for side in one.prediction.boxes[index]),
        ]
        for one in found
        for index in range(len(one.prediction))
    ]
    return csv_file(["image", "label", "class", "score", "x1", "y1", "x2", "y2"], rows)
