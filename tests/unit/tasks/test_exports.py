"""Predictions as files: what reads them finds what was found."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptrt import Classification, Detections, Found, UsageError, Values
from adaptrt.specs import task_named

NAMES = ("cat", "dog, large")
BOXES = Detections(
    np.array([[10, 20, 50, 40], [0, 0, 100, 80]], np.float32),
    np.array([0.9, 0.25], np.float32),
    np.array([1, 0], np.int64),
    NAMES,
)
NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), NAMES)
FOUND = [Found("000042", Path("x/000042.jpg"), (80, 100), BOXES), Found("b", Path("b.png"), (80, 100), NOTHING)]


def files(task: str, format: str, found: list[Found[Any]] = FOUND) -> dict[str, bytes]:  # noqa: A002
    return dict(task_named(task).export(format, found))


def rows(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(), newline="")))


def test_coco_results() -> None:
    (first, second) = json.loads(files("detect", "coco")["predictions.json"])
    assert first == {"image_id": 42, "category_id": 1, "bbox": [10, 20, 40, 20], "score": 0.9}
    assert second["category_id"] == 0


def test_coco_results_are_read_by_its_tools() -> None:
    pytest.importorskip("faster_coco_eval", reason="it reads COCO results")
    from faster_coco_eval import COCO

    categories = [{"id": index, "name": name} for index, name in enumerate(NAMES)]
    truth = COCO({"images": [{"id": 42, "height": 80, "width": 100}], "annotations": [], "categories": categories})
    loaded = truth.loadRes(json.loads(files("detect", "coco")["predictions.json"]))
    assert len(loaded.getAnnIds(imgIds=[42])) == 2


def test_yolo_labels() -> None:
    written = files("detect", "txt")
    assert written["b.txt"] == b""
    assert written["000042.txt"].decode().splitlines() == ["1 0.3 0.375 0.4 0.25 0.9", "0 0.5 0.5 1 1 0.25"]


def test_tables() -> None:
    head, first, _ = rows(files("detect", "csv")["predictions.csv"])
    assert dict(zip(head, first, strict=True)) == {
        "image": "x/000042.jpg", "label": "dog, large", "class": "1", "score": "0.9",
        "x1": "10.0", "y1": "20.0", "x2": "50.0", "y2": "40.0",
    }  # fmt: skip
    classes = Classification(np.array([0.75, 0.25], np.float32), np.array([1, 0]), NAMES)
    table = files("classify", "csv", [Found("a", Path("a.jpg"), (9, 9), classes)])["predictions.csv"]
    assert rows(table)[1:] == [["a.jpg", "1", "dog, large", "1", "0.75"], ["a.jpg", "2", "cat", "0", "0.25"]]
    lines = files("classify", "txt", [Found("a", Path("a.jpg"), (9, 9), classes)])["a.txt"]
    assert lines.decode().splitlines() == ["0.75 dog, large", "0.25 cat"]


def test_arrays() -> None:
    values = Values({"logits": np.arange(3, dtype=np.float32)})
    (data,) = files("values", "npz", [Found("a", Path("a.jpg"), (9, 9), values)]).values()
    with np.load(io.BytesIO(data)) as arrays:
        np.testing.assert_array_equal(arrays["logits"], [0, 1, 2])


def test_every_task_writes_json_and_names_its_formats() -> None:
    entries = json.loads(files("detect", "json")["predictions.json"])
    assert [len(entry["detections"]) for entry in entries] == [2, 0]
    for name in ("classify", "detect", "semantic", "values"):
        task = task_named(name)
        assert "json" in task.formats
        with pytest.raises(UsageError, match="cannot be written as 'xml'"):
            dict(task.export("xml", []))
        for format in task.formats:  # noqa: A001
            assert dict(task.export(format, [])) is not None
