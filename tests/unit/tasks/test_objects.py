"""The tasks that find objects: files, records, drawings and problems of masks, keypoints and rotated boxes."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from adaptrt import Found, InputSpec, Mask, ModelError, ModelSpec, Poses, RotatedDetections, Segments
from adaptrt.predictions import corners_of
from adaptrt.specs import precision_named, task_named
from adaptrt.tasks.objects import folder_name

pytest.importorskip("cv2", reason="outlines and crops need OpenCV")

SIZE = (80, 100)
NAMES = ("cat", "../dog")
BOXES = np.array([[10, 20, 50, 40], [0, 0, 30, 30]], np.float32)
SCORES, LABELS = np.array([0.9, 0.25], np.float32), np.array([1, 0], np.int64)
DISC = np.hypot(*np.mgrid[-9.5:10:1, -19.5:20:1] / [[[10]], [[20]]]) < 1
MASKS = (Mask(DISC, 10, 20), Mask(np.ones((30, 30), np.bool_), 0, 0))
ROTATED = np.array([[30, 30, 40, 10, 0.25], [15, 15, 30, 20, -0.5]], np.float32)
POINTS = np.array([[[12, 22, 0.9], [48, 38, 0.1]], [[1, 1, 1], [29, 29, 0.75]]], np.float32)
FOUND: dict[str, Any] = {
    "segment": Segments(BOXES, SCORES, LABELS, NAMES, MASKS, SIZE),
    "pose": Poses(BOXES, SCORES, LABELS, NAMES, POINTS, ((0, 1),)),
    "obb": RotatedDetections(BOXES, SCORES, LABELS, NAMES, ROTATED),
}
TASKS = list(FOUND)
SPEC = ModelSpec((InputSpec.image(32, 32),), labels=NAMES)


def nothing(task: str) -> Any:
    return FOUND[task].at(np.zeros(2, np.bool_))


def exported(task: str, format: str, path: Path = Path("x/7.jpg")) -> dict[str, bytes]:  # noqa: A002
    found = [Found("7", path, SIZE, FOUND[task]), Found("b", Path("b.png"), SIZE, nothing(task))]
    return dict(task_named(task).export(format, found))


def recorded(task: str, prediction: Any) -> dict[str, Any]:
    data: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(task_named(task).record(prediction)))
    return data


@pytest.mark.parametrize("task", TASKS)
def test_described_filtered_and_empty(task: str) -> None:
    named = task_named(task)
    assert named.describe(FOUND[task]) == "1 ../dog, 1 cat"
    better = named.above(FOUND[task], 0.5)
    assert type(better) is type(FOUND[task])
    assert named.describe(better) == "1 ../dog"
    assert named.data(better)["detections"] == named.data(FOUND[task])["detections"][:1]
    assert named.is_empty(nothing(task))
    assert named.describe(nothing(task)) == "nothing"


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("empty", [False, True])
def test_records_are_read_back(task: str, empty: bool) -> None:
    prediction = nothing(task) if empty else FOUND[task]
    found = task_named(task).read_record(recorded(task, prediction))
    assert type(found) is type(prediction)
    assert task_named(task).data(found) == task_named(task).data(prediction)


@pytest.mark.parametrize(
    ("task", "changes"),
    [
        ("segment", {"masks": []}), ("segment", {"masks": "text"}), ("segment", {"size": [80]}),
        ("segment", {"size": [1 << 20, 1 << 20]}), ("segment", {"size": [10, 10]}),
        ("segment", {"masks": [{"left": 0, "top": 0, "height": 5, "width": 5, "counts": "1"}] * 2}),
        ("segment", {"masks": [{"left": 0, "top": 0, "height": 1 << 30, "width": 1 << 30, "counts": "1"}] * 2}),
        ("segment", {"masks": [{"left": -1, "top": 0, "height": 5, "width": 5, "counts": "I"}] * 2}),
        ("segment", {"masks": [{"left": 0, "top": 0, "height": 5, "width": 5, "counts": "\u1234"}] * 2}),
        ("pose", {"keypoints": [[[1, 2, 1]]]}), ("pose", {"keypoints": [[[1, 2]], [[1, 2]]]}),
        ("pose", {"keypoints": [[[1, 2, 1]], [[1, 2, 1], [3, 4, 1]]]}), ("pose", {"skeleton": [[0, 2]]}),
        ("obb", {"rotated": [[1, 2, 3, 4, 5]]}), ("obb", {"rotated": [[1, 2, 3, 4]] * 2}),
    ],
)  # fmt: skip
def test_records_of_anyone(task: str, changes: dict[str, Any]) -> None:
    with pytest.raises(ModelError):
        task_named(task).read_record({**recorded(task, FOUND[task]), **changes})


def test_label_files_are_those_of_ultralytics() -> None:
    pose = exported("pose", "txt")["7.txt"].decode().splitlines()
    assert pose[0] == "1 0.3 0.375 0.4 0.25 0.12 0.275 0.9 0.48 0.475 0.1 0.9"
    corners = [float(word) for word in exported("obb", "txt")["7.txt"].decode().splitlines()[0].split()]
    np.testing.assert_allclose(corners[1:-1], (corners_of(ROTATED)[0] / [100, 80]).ravel(), rtol=1e-5)
    outline = [float(word) for word in exported("segment", "txt")["7.txt"].decode().splitlines()[1].split()]
    assert (outline[0], outline[-1]) == (0, 0.25)
    assert set(outline[1:-1:2]) == {0, 0.29}
    assert exported("segment", "txt")["b.txt"] == b""


@pytest.mark.full
def test_label_files_have_the_numbers_that_ultralytics_writes(tmp_path: Path) -> None:
    """Its own ``save_txt`` of the same predictions."""
    pytest.importorskip("ultralytics", reason="compares with its files")
    import torch
    from ultralytics.engine.results import Results

    image = np.zeros((*SIZE, 3), np.uint8)
    names = dict(enumerate(NAMES))
    boxes = torch.from_numpy(np.concatenate([BOXES, SCORES[:, None], LABELS[:, None]], 1).astype(np.float32))
    turned = torch.from_numpy(np.concatenate([ROTATED, SCORES[:, None], LABELS[:, None]], 1).astype(np.float32))
    theirs = {
        "pose": Results(image, "a", names, boxes=boxes, keypoints=torch.from_numpy(POINTS)),
        "obb": Results(image, "a", names, obb=turned),
        "segment": Results(
            image, "a", names, boxes=boxes, masks=torch.from_numpy(np.stack([mask.in_image(SIZE) for mask in MASKS]))
        ),
    }
    for task, result in theirs.items():
        result.save_txt(tmp_path / f"{task}.txt", save_conf=True)
        expected = [
            [float(word) for word in line.split()] for line in (tmp_path / f"{task}.txt").read_text().splitlines()
        ]
        ours = [[float(word) for word in line.split()] for line in exported(task, "txt")["7.txt"].decode().splitlines()]
        assert [len(row) for row in ours] == [len(row) for row in expected]
        for found, wanted in zip(ours, expected, strict=True):
            if task == "obb":  # it turns boxes so that the angle lies between 0 and a quarter turn
                found, wanted = (sorted(zip(row[1:-1:2], row[2:-1:2], strict=True)) for row in (found, wanted))
            np.testing.assert_allclose(found, wanted, atol=2e-4)


def test_coco_results_are_read_by_its_tools() -> None:
    pytest.importorskip("faster_coco_eval", reason="it reads COCO results")
    from faster_coco_eval import COCO

    categories = [{"id": index, "name": name} for index, name in enumerate(NAMES)]
    images = [{"id": 7, "height": SIZE[0], "width": SIZE[1]}]
    truth = COCO({"images": images, "annotations": [], "categories": categories})
    loaded = truth.loadRes(json.loads(exported("segment", "coco")["predictions.json"]))
    for entry, mask in zip(loaded.loadAnns(loaded.getAnnIds()), MASKS, strict=True):
        np.testing.assert_array_equal(loaded.annToMask(entry).astype(bool), mask.in_image(SIZE))
    poses = json.loads(exported("pose", "coco")["predictions.json"])
    assert [len(entry["keypoints"]) for entry in poses] == [6, 6]


def test_dota_files_have_a_class_each() -> None:
    written = exported("obb", "dota")
    assert list(written) == ["Task1_cat.txt", "Task1_dog.txt"]
    name, score, *corners = written["Task1_dog.txt"].decode().split()
    assert (name, float(score)) == ("7", pytest.approx(0.9))
    np.testing.assert_allclose([float(word) for word in corners], corners_of(ROTATED)[0].ravel(), atol=0.01)


@pytest.mark.parametrize("task", [*TASKS, "detect"])
def test_crops_lie_in_folders_of_their_class(task: str, tmp_path: Path) -> None:
    import cv2

    down, across = np.mgrid[: SIZE[0], : SIZE[1]]
    image = np.stack([2 * across, 3 * down, across + down], -1).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "7.png"), image)
    found = [Found("7", tmp_path / "7.png", SIZE, FOUND[task if task != "detect" else "segment"])]
    written = dict(task_named(task).export("crop", found))
    assert list(written) == ["dog/7-1.jpg", "cat/7-1.jpg"]
    cut = cv2.imdecode(np.frombuffer(written["dog/7-1.jpg"], np.uint8), cv2.IMREAD_COLOR)
    assert cut.shape == (20, 40, 3)
    assert abs(cut.astype(int) - image[20:40, 10:50]).mean() < 6


@pytest.mark.parametrize("label", ["..", "/etc", "a/b", "", "nul\0", "x" * 500])
def test_folder_names_stay_inside(label: str) -> None:
    name = folder_name(label)
    assert name
    assert len(name) <= 80
    assert not set(name) & set("./\\\0")


@pytest.mark.parametrize("task", TASKS)
def test_tables(task: str) -> None:
    rows = list(csv.reader(io.StringIO(exported(task, "csv")["predictions.csv"].decode(), newline="")))
    assert len(rows) == 3
    assert {len(row) for row in rows} == {len(rows[0])}
    assert rows[0][:4] == ["image", "label", "class", "score"]
    assert rows[1][1:4] == ["../dog", "1", "0.9"]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("size", [SIZE, (1, 1), (600, 800)])
def test_drawn(task: str, size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 128, np.uint8)
    drawn = task_named(task).draw(image, FOUND[task])
    assert (image == 128).all()
    assert size == (1, 1) or (drawn != 128).any()
    np.testing.assert_array_equal(task_named(task).draw(image, nothing(task)), image)


def test_what_the_contract_finds() -> None:
    for task in TASKS:
        assert task_named(task).problems(FOUND[task], SPEC, SIZE) == []
    segments = FOUND["segment"]
    assert task_named("segment").problems(segments, SPEC, (10, 10))
    few = Segments(BOXES, SCORES, LABELS, NAMES, MASKS[:1], SIZE)
    assert "1 masks" in task_named("segment").problems(few, SPEC, SIZE)[0]
    apart = Poses(BOXES, SCORES, LABELS, NAMES, POINTS, ((0, 5),))
    assert "skeleton" in task_named("pose").problems(apart, SPEC, SIZE)[0]
    assert "[2, 5]; got" in task_named("obb").problems(RotatedDetections(BOXES, SCORES, LABELS, NAMES), SPEC, SIZE)[0]


def moved(task: str) -> Any:
    """The same boxes with other masks, keypoints or angles."""
    if task == "segment":
        return Segments(
            BOXES, SCORES, LABELS, NAMES, (Mask(DISC[:, ::-1] & (np.arange(40) < 8), 10, 20), MASKS[1]), SIZE
        )
    if task == "pose":
        return Poses(BOXES, SCORES, LABELS, NAMES, POINTS + np.float32([25, 25, 0]), ((0, 1),))
    return RotatedDetections(BOXES, SCORES, LABELS, NAMES, ROTATED + np.float32([0, 0, 0, 0, 0.5]))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_agreement_is_held_to_the_precision(task: str, precision: str) -> None:
    spec = ModelSpec((InputSpec.image(32, 32),), labels=NAMES, task=task)
    metrics = task_named(task).metrics(spec, precision_named(precision))
    same = [metric.compute([FOUND[task]], [FOUND[task]]) for metric in metrics]
    assert same == pytest.approx([1.0] * len(metrics))
    other = [metric.compute([FOUND[task]], [moved(task)]) for metric in metrics]
    assert any(
        metric.minimum is not None and value < metric.minimum for metric, value in zip(metrics, other, strict=True)
    )
    assert all(metric.task == task for metric in metrics)
    assert task_named(task).agreement(FOUND[task], moved(task))
    assert task_named(task).agreement(nothing(task), nothing(task))


def test_classes_without_names_are_not_read_as_counts() -> None:
    found = Segments(BOXES, SCORES, LABELS, (), MASKS, SIZE)
    assert task_named("segment").describe(found) == "1 class 1, 1 class 0"
    assert task_named("segment").describe(FOUND["segment"]) == "1 ../dog, 1 cat"
