"""Predictions in the file formats of other tools."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adaptrt.predictions import Detections
    from adaptrt.specs.tasks import Found, Task


def csv_file(
    found: Sequence[Found[Any]], header: Sequence[str], rows: Callable[[Any], Sequence[Sequence[Any]]]
) -> bytes:
    """A CSV file with the ``rows`` of each prediction behind the path of its image."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", *header])
    writer.writerows([str(one.path), *row] for one in found for row in rows(one.prediction))
    return text.getvalue().encode()


def coco_file(found: Sequence[Found[Any]], task: Task[Any]) -> bytes:
    """COCO results of all images: ``image_id`` is the file's name as a number if it is one."""
    results = []
    for one in found:
        results += task.coco_entries(one.prediction, int(one.name) if one.name.isdecimal() else one.name)
    return json.dumps(results).encode()


def yolo_files(
    found: Sequence[Found[Any]], numbers: Callable[[Any, int, tuple[int, int]], Sequence[float]]
) -> Iterator[tuple[str, bytes]]:
    """One file per image, in Ultralytics' label format: class, ``numbers(prediction, index, size)``, score."""
    for one in found:
        lines = []
        for index, (score, label) in enumerate(zip(one.prediction.scores, one.prediction.labels, strict=True)):
            own = numbers(one.prediction, index, one.size)
            lines.append(" ".join([str(int(label)), *(f"{value:.6g}" for value in (*own, float(score)))]))
        yield f"{one.name}.txt", "".join(f"{line}\n" for line in lines).encode()


def box_numbers(prediction: Detections, index: int, size: tuple[int, int]) -> tuple[float, ...]:
    """Center x and y, width and height, as parts of the image's sides."""
    height, width = size
    left, top, right, bottom = map(float, prediction.boxes[index])
    return (left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width, (bottom - top) / height
