"""One object of many that is wrong: a mean over all of them hides it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from adaptrt import DecoderSpec, ImageTransform, InputSpec, ModelSpec
from adaptrt.pipeline.links import compare_predictions
from adaptrt.predictions import Mask, Poses, Segments, SemanticMap
from adaptrt.specs import precision_named, task_named

COUNT, SIDE = 100, 40


def failed(task: str, expected: Any, actual: Any, precision: str = "fp32") -> list[str]:
    decoder = DecoderSpec({"semantic": "semantic"}.get(task, "yolo"))
    spec = ModelSpec((InputSpec.image(32, 32),), (), task, ImageTransform(), decoder)
    checks = compare_predictions(task_named(task).metrics(spec, precision_named(precision)), [expected], [actual], spec)
    assert checks
    return [f"{check.name}: {check.detail}" for check in checks if not check.passed]


def boxes() -> Any:
    corners = np.array([(50 * (index % 10), 50 * (index // 10)) for index in range(COUNT)], np.float32)
    return np.concatenate([corners, corners + SIDE], axis=1)


def segments(wrong: Any = None, count: int = 1) -> Segments:
    found = boxes()
    masks = [np.ones((SIDE, SIDE), np.bool_) for _ in range(COUNT)]
    for index in range(count if wrong is not None else 0):
        masks[index] = wrong
    placed = tuple(Mask(mask, int(box[0]), int(box[1])) for mask, box in zip(masks, found, strict=True))
    return Segments(found, np.full(COUNT, 0.9, np.float32), np.zeros(COUNT, np.int64), ("a",), placed, (500, 500))


def half(rows: int) -> Any:
    mask = np.ones((SIDE, SIDE), np.bool_)
    mask[:rows] = False
    return mask


def test_a_mask_of_many() -> None:
    assert failed("segment", segments(), segments(half(SIDE // 2))) == [
        "masks with IoU 0.8: image 1: the mask of a 0.9 at [0, 0, 40, 40] has IoU 0.5"
    ]
    assert failed("segment", segments(), segments(half(1))) == []
    assert failed("segment", segments(), segments(half(SIDE // 2)), "fp16") == []


def poses(points: int, moved: float = 0.0, seen: float = 0.9) -> Poses:
    found = boxes()
    keypoints = np.zeros((COUNT, points, 3), np.float32)
    keypoints[..., :2] = (found[:, None, :2] + found[:, None, 2:]) / 2
    keypoints[..., 2] = 0.9
    keypoints[0, 0, 0] += moved
    keypoints[0, 0, 2] = seen
    return Poses(found, np.full(COUNT, 0.9, np.float32), np.zeros(COUNT, np.int64), ("a",), keypoints, ())


@pytest.mark.parametrize("points", [1, 2, 4, 17])
def test_a_keypoint_of_many(points: int) -> None:
    """With 1 or 2 keypoints, OKS accepts 8 % of the size of every object too."""
    (said,) = failed("pose", poses(points), poses(points, moved=4.0))
    assert said.endswith("image 1: keypoint 0 of a 0.9 at [0, 0, 40, 40] differs")
    assert failed("pose", poses(points), poses(points, moved=0.5)) == []
    assert failed("pose", poses(points), poses(points, moved=4.0), "int8") == []


def test_visibility_counts() -> None:
    (said,) = failed("pose", poses(2), poses(2, seen=0.7))
    assert "keypoint 0" in said


def test_a_class_of_many() -> None:
    labels = np.repeat(np.arange(200, dtype=np.uint8), 5)[None].repeat(1000, 0)
    labels[:, 5:10] = np.where(np.arange(1000)[:, None] < 400, 1, 0)  # 0.2 % of the pixels
    wrong = labels.copy()
    wrong[labels == 1] = 0
    small = SemanticMap(wrong, tuple(map(str, range(200))))
    said = failed("semantic", SemanticMap(labels, small.names), small)
    assert any(text.startswith("classes with IoU 0.5") for text in said)


def test_objects_that_have_no_match_are_not_compared() -> None:
    """Only the boxes fail: masks and keypoints have nothing to compare."""
    none = Segments(
        np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), ("a",), (), (500, 500)
    )
    (said,) = failed("segment", segments(), none)
    assert said.startswith("matched boxes")


def metric_names(task: str, expected: Any, actual: Any) -> set[str]:
    decoder = DecoderSpec({"semantic": "semantic"}.get(task, "yolo"))
    spec = ModelSpec((InputSpec.image(32, 32),), (), task, ImageTransform(), decoder)
    metrics = task_named(task).metrics(spec, precision_named("fp16"))
    return {check.name for check in compare_predictions(metrics, [expected], [actual], spec)}


def test_where_nothing_is_compared_there_is_no_agreement() -> None:
    """No class covers a thousandth of the pixels, no mask has a pixel, and no keypoint is visible."""
    labels = np.arange(2500, dtype=np.int32).reshape(50, 50)
    names = metric_names("semantic", SemanticMap(labels), SemanticMap(labels[::-1].copy()))
    assert names == {"pixels of the same class"}
    empty = replace(segments(), masks=tuple(replace(mask, bitmap=mask.bitmap & False) for mask in segments().masks))
    assert not any("mask" in name for name in metric_names("segment", empty, empty))
    unseen = poses(3)
    unseen.points[..., 2] = 0
    assert not any("OKS" in name for name in metric_names("pose", unseen, unseen))
