"""Predictions of every task, drawn onto their image."""

from __future__ import annotations

import numpy as np
import pytest

from adaptrt.predictions import Classification, Detections, Predictions, SemanticMap, Values
from adaptrt.specs import task_named
from adaptrt.vision.colors import class_color

pytest.importorskip("cv2", reason="images are drawn with OpenCV")


def detections(*boxes: tuple[float, ...]) -> Detections:
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.3, count, dtype=np.float32),
        np.arange(count),
        ("bus", "straße"),
    )


def test_a_box_has_its_class_color_and_the_image_is_not_touched() -> None:
    image = np.full((400, 600, 3), 128, np.uint8)
    drawn = task_named("detect").draw(image, detections((100, 100, 300, 300)))
    assert (image == 128).all()
    np.testing.assert_array_equal(drawn[200, 100], class_color(0))
    np.testing.assert_array_equal(drawn[200, 200], [128, 128, 128])
    assert (drawn[85:98, 105:130] != 128).any()  # the label, above the box
    assert (drawn[310:] == 128).all()


@pytest.mark.parametrize("size", [(1, 1), (8, 300), (64, 64), (1500, 1000)])
@pytest.mark.parametrize(
    ("task", "predictions"),
    [
        ("detect", detections()),
        ("detect", detections((0, 0, 1, 1), (0, 0, 64, 64), (5, 5, 5, 5), (-10, -10, 1e4, 1e4))),
        ("classify", Classification(np.array([0.9, 0.1, 0], np.float32), np.array([5, 0, 1]), ("a" * 200, "b"))),
        ("classify", Classification(np.empty(0, np.float32), np.empty(0, np.int64))),
        ("values", Values({"x": np.zeros(3)})),
        ("semantic", SemanticMap(np.arange(64 * 64, dtype=np.int32).reshape(64, 64) // 300, ("void", "a" * 200))),
    ],
    ids=["none", "boxes", "classes", "no classes", "values", "map of another size"],
)
def test_any_prediction_can_be_drawn_on_any_image(size: tuple[int, int], task: str, predictions: Predictions) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    drawn = task_named(task).draw(image, predictions)
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    if not task_named(task).draws:
        np.testing.assert_array_equal(drawn, image)


def test_likelier_classes_have_longer_bars() -> None:
    image = np.zeros((600, 800, 3), np.uint8)
    drawn = task_named("classify").draw(
        image, Classification(np.array([0.8, 0.2], np.float32), np.array([0, 1]), ("cat", "dog"))
    )
    lengths = [(drawn == class_color(label)).all(axis=2).sum() for label in (0, 1)]
    assert lengths[0] > 2 * lengths[1] > 0
