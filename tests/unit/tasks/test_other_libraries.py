"""Predictions as tables, COCO results, drawings, and objects of other libraries."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from adaptrt import (
    Classification,
    DependencyError,
    Detections,
    ImageError,
    Mask,
    Poses,
    Prediction,
    RotatedDetections,
    Segments,
    SemanticMap,
    UsageError,
    Values,
)
from adaptrt.pipeline.streaming import FrameResult
from adaptrt.sources import Frame

NAMES = ("cat", "<b>dog</b>")
BOXES, SCORES, LABELS = (
    np.array([[10, 20, 50, 40], [0, 0, 100, 80]], np.float32),
    np.array([0.9, 0.25], np.float32),
    np.array([1, 0], np.int64),
)
FOUND = Detections(BOXES, SCORES, LABELS, NAMES)
MASKS = (Mask(np.ones((20, 40), bool), 10, 20), Mask(np.ones((80, 100), bool), 0, 0))
SEGMENTS = Segments(BOXES, SCORES, LABELS, NAMES, MASKS, (80, 100))
KEYPOINTS = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
POSES = Poses(BOXES, SCORES, LABELS, NAMES, KEYPOINTS, ((0, 1),))
ROTATED = RotatedDetections(BOXES, SCORES, LABELS, NAMES, np.array([[30, 30, 40, 20, 0.5]] * 2, np.float32))
CLASSES = Classification(SCORES, LABELS, NAMES)
AREAS = SemanticMap(np.repeat(np.array([[0, 1]], np.uint8), 4, 0), NAMES)
VALUES = Values({"logits": np.zeros(3, np.float32)})
ALL = (FOUND, SEGMENTS, POSES, ROTATED, CLASSES, AREAS, VALUES)


def test_names_of_other_libraries() -> None:
    assert FOUND.xyxy is BOXES
    np.testing.assert_array_equal(FOUND.xywh, [[30, 30, 40, 20], [50, 40, 100, 80]])
    assert FOUND.confidence is FOUND.conf is SCORES
    assert FOUND.class_id is FOUND.cls is LABELS
    np.testing.assert_array_equal(ROTATED.xyxyxyxy, ROTATED.polygons)
    assert (CLASSES.top1, CLASSES.top1conf, CLASSES.top5) == (1, pytest.approx(0.9), [1, 0])


@pytest.mark.full  # imports torch
def test_names_are_those_of_ultralytics() -> None:
    results = pytest.importorskip("ultralytics.engine.results", reason="the names are compared with its own")
    for kind, names, ours in (
        (results.Boxes, ("xyxy", "xywh", "conf", "cls"), FOUND),
        (results.OBB, ("xyxyxyxy", "conf", "cls"), ROTATED),
        (results.Probs, ("top1", "top1conf", "top5"), CLASSES),
        (results.Results, ("plot",), FOUND),
    ):
        assert [name for name in names if not hasattr(kind, name) or not hasattr(ours, name)] == []
    theirs = results.Boxes(np.concatenate([BOXES, SCORES[:, None], LABELS[:, None]], 1), (80, 100))
    for name in ("xyxy", "xywh", "conf", "cls"):
        np.testing.assert_array_equal(getattr(theirs, name), getattr(FOUND, name))


def test_coco_results() -> None:
    first, second = SEGMENTS.to_coco(7, category_ids=(3, 18))
    assert (first["image_id"], first["category_id"], first["bbox"]) == (7, 18, [10, 20, 40, 20])
    assert first["segmentation"]["size"] == [80, 100]
    assert second["category_id"] == 3
    assert POSES.to_coco()[0]["keypoints"] == [0, 1, 2, 3, 4, 5]
    with pytest.raises(UsageError, match="no id for a class"):
        FOUND.to_coco(category_ids=(3,))
    for prediction in (CLASSES, AREAS, VALUES, ROTATED):
        with pytest.raises(UsageError, match="cannot be written as COCO results"):
            prediction.to_coco()


def test_drawings(tmp_path: Path) -> None:
    image = np.full((80, 100, 3), 120, np.uint8)
    for prediction in (FOUND, SEGMENTS, POSES, ROTATED, CLASSES):
        drawn = prediction.plot(image, save=tmp_path / "drawn.png")
        assert drawn.shape == image.shape
        assert (drawn != image).any()
        assert (image == 120).all()
        np.testing.assert_array_equal(prediction.plot(tmp_path / "drawn.png").shape, image.shape)
    with pytest.raises(UsageError, match="'values' cannot be drawn"):
        VALUES.plot(image)


def test_a_notebook_shows_a_table() -> None:
    shown = FOUND._repr_html_() or ""
    assert "<th>label</th><th>class</th><th>score</th><th>x1</th>" in shown
    assert "<td>&lt;b&gt;dog&lt;/b&gt;</td><td>1</td><td>0.9</td><td>10.0</td>" in shown
    assert FOUND.at(np.arange(2).repeat(30))._repr_html_().count("<tr>") == 21  # type: ignore[union-attr]
    assert "<td>cat</td><td>0</td><td>4</td><td>0.5</td>" in (AREAS._repr_html_() or "")
    assert VALUES._repr_html_() is None


def test_a_notebook_shows_a_frame() -> None:
    frame = Frame(source="a.png", pixels=np.zeros((80, 100, 3), np.uint8))
    result = FrameResult(frame=frame, task=FOUND.task, prediction=FOUND)
    assert (result._repr_png_() or b"").startswith(b"\x89PNG")
    lost = FrameResult(frame=Frame(source="a.png", error=ImageError("a.png cannot be read.")), task=FOUND.task)
    assert lost._repr_png_() is None
    with pytest.raises(ImageError, match="cannot be read"):
        lost.plot()


@pytest.mark.parametrize(("package", "method"), [("pandas", "to_pandas"), ("supervision", "to_supervision")])
def test_a_missing_package_is_named(package: str, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DependencyError, match=f"requires {package}") as caught:
        getattr(FOUND, method)()
    assert caught.value.hint == f"Install it: pip install {package}"


def test_tables_of_pandas() -> None:
    pytest.importorskip("pandas", reason="tables are pandas'")
    table = FOUND.to_pandas()
    assert list(table.columns) == ["label", "class", "score", "x1", "y1", "x2", "y2"]
    assert table.loc[0, "label"] == "<b>dog</b>"
    assert table["x2"].tolist() == [50, 100]
    assert list(FOUND.at(np.zeros(0, np.int64)).to_pandas().columns) == list(table.columns)
    assert POSES.to_pandas()["visible_1"].tolist() == [5, 11]
    assert CLASSES.to_pandas()["rank"].tolist() == [1, 2]


def test_what_supervision_receives(monkeypatch: pytest.MonkeyPatch) -> None:
    """With classes that keep what they are given: supervision itself requires a video library (100 MB)."""
    names = ("Detections", "KeyPoints", "Classifications")
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(**dict.fromkeys(names, SimpleNamespace)))  # type: ignore[arg-type]
    found = SEGMENTS.to_supervision()
    assert found.xyxy is BOXES
    assert found.data["class_name"].tolist() == ["<b>dog</b>", "cat"]
    assert (found.mask.shape, found.mask.dtype, found.mask[0].sum()) == ((2, 80, 100), bool, 800)
    assert FOUND.to_supervision().mask is None
    np.testing.assert_array_equal(ROTATED.to_supervision().data["xyxyxyxy"], ROTATED.polygons)
    np.testing.assert_array_equal(POSES.to_supervision().xy, KEYPOINTS[..., :2])
    assert CLASSES.to_supervision().class_id is LABELS
    with pytest.raises(UsageError, match="no counterpart"):
        AREAS.to_supervision()


def test_supervision_itself() -> None:
    supervision = pytest.importorskip("supervision", reason="not a dependency of the tests")
    nothing = np.zeros(0, np.int64)
    for found in (FOUND, SEGMENTS, ROTATED):
        for prediction in (found, found.at(nothing)):
            converted = prediction.to_supervision()
            assert isinstance(converted, supervision.Detections)
            assert len(converted) == len(prediction)
    image = supervision.BoxAnnotator().annotate(np.zeros((80, 100, 3), np.uint8), FOUND.to_supervision())
    assert image.any()
    assert len(POSES.to_supervision()) == 2
    assert CLASSES.to_supervision().get_top_k(1)[0].tolist() == [1]


@dataclass(frozen=True)
class Unregistered(Prediction):
    """Of no task."""


def test_a_type_of_no_task() -> None:
    with pytest.raises(UsageError, match="No installed task has predictions of type Unregistered"):
        Unregistered().to_coco()


@pytest.mark.parametrize("prediction", ALL, ids=lambda prediction: type(prediction).__name__)
def test_the_task_is_found(prediction: Any) -> None:
    assert prediction.task.prediction is type(prediction)
