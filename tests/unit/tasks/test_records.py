"""What a report keeps of a prediction is read back, of version 1 too; what is not one of ours is refused."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np
import pytest

from adaptrt import Classification, Detections, ModelError, Values
from adaptrt.report import Report
from adaptrt.specs import task_named

BOXES = Detections(np.array([[0, 0, 10.5, 10]], np.float32), np.array([0.5], np.float32), np.array([1]), ("cat", "dog"))
CLASSES = Classification(np.array([0.75, 0.25], np.float32), np.array([1, 0]), ("cat", "dog"))


def recorded(task: str, prediction: Any) -> dict[str, Any]:
    data: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(task_named(task).record(prediction)))
    return data


@pytest.mark.parametrize(("task", "prediction"), [("detect", BOXES), ("classify", CLASSES)])
def test_records_are_read_back(task: str, prediction: Any) -> None:
    found = task_named(task).read_record(recorded(task, prediction))
    assert type(found) is type(prediction)
    assert task_named(task).data(found) == task_named(task).data(prediction)
    assert found.names == prediction.names


def test_nothing_is_read_back_too() -> None:
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    found = task_named("detect").read_record(recorded("detect", nothing))
    assert (len(found), found.boxes.shape) == (0, (0, 4))


def test_values_are_described_and_not_kept() -> None:
    values = Values({"out": np.zeros((3, 2), np.float32)})
    assert task_named("values").data(values)["values"]["out"]["data"] == [[0, 0], [0, 0], [0, 0]]
    assert task_named("values").describe(values) == "out (3, 2)"
    assert recorded("values", values) == {"out": {"shape": [3, 2], "dtype": "float32"}}
    assert task_named("values").read_record(recorded("values", values)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"boxes": [[1, 2, 3]]}, {"boxes": "text"}, {"boxes": [[1, 2, 3, 1e300]]}, {"scores": [0.5, 0.25]},
        {"labels": ["cat"]}, {"labels": [1 << 70]}, {"names": [1]}, {"boxes": {"a": 1}},
    ],
)  # fmt: skip
def test_records_of_anyone(changes: dict[str, Any]) -> None:
    record = recorded("detect", BOXES)
    with pytest.raises(ModelError):
        task_named("detect").read_record({**record, **changes})


def test_columns_that_are_missing() -> None:
    record = recorded("detect", BOXES)
    for key in ("boxes", "scores", "labels"):
        with pytest.raises(ModelError, match=f"'{key}' of a recorded prediction"):
            task_named("detect").read_record({name: value for name, value in record.items() if name != key})


def first_version(**predictions: Any) -> str:
    report = json.loads(Report("tiny", "net", "adaptrt convert").to_json())
    return json.dumps({**report, "version": 1, "images": [{"path": "a.png", "predictions": predictions}]})


def test_reports_of_version_1() -> None:
    columns = {"scores": [0.5], "labels": [1], "names": ["cat", "dog"]}
    report = Report.from_json(
        first_version(
            eager={"kind": "detections", **columns, "boxes": [[0, 0, 10, 10]]},
            framework={"kind": "classification", **columns, "boxes": []},
            onnxruntime={"kind": "values", "scores": [], "labels": [], "names": ["logits"], "boxes": []},
        )
    )
    boxes, classes, values = (report.images[0].predictions[name] for name in ("eager", "framework", "onnxruntime"))
    assert task_named(boxes.task).describe(task_named(boxes.task).read_record(boxes.data)) == "1 dog"
    assert task_named(classes.task).describe(task_named(classes.task).read_record(classes.data)) == "dog 0.500"
    assert (values.task, values.found) == ("values", "values: logits")
    for broken in ({"kind": ["detections"]}, {"kind": "other"}, "text", 5):
        with pytest.raises(ModelError, match="cannot be read"):
            Report.from_json(first_version(eager=broken))


def test_short_vectors_are_shown_and_large_arrays_are_not() -> None:
    task = task_named("values")
    arrays = {
        "center": np.array([0.53125, -12.345]),
        "radius": np.float32(3).reshape(()),
        "broken": np.array([np.nan]),
        "map": np.zeros((40, 40)),
        "vector": np.zeros(9),
        "text": np.array(["a"]),
    }
    line = "center [0.531, -12.3], radius 3, broken [nan], map (40, 40), vector (9,), text (1,)"
    assert task.describe(Values(arrays)) == line
    found = task.data(Values(arrays))["values"]
    assert "data" not in found["map"]
    assert found["center"] == {"shape": [2], "dtype": "float64", "data": [0.53125, -12.345]}
    assert found["radius"]["data"] == 3
