import itertools

import numpy as np
import pytest

from adaptrt.predictions import Classification, Detections, Predictions, Values
from adaptrt.vision.canvas import Rect, fill_rounded, fit_text, text_width
from adaptrt.vision.colors import class_color, text_color
from adaptrt.vision.drawing import draw_predictions


def detections(*boxes: tuple[float, ...]) -> Detections:
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.3, count, dtype=np.float32),
        np.arange(count),
        ("bus", "straße"),
    )


def test_a_box_has_its_class_colour_and_the_image_is_not_touched() -> None:
    image = np.full((400, 600, 3), 128, np.uint8)
    drawn = draw_predictions(image, detections((100, 100, 300, 300)))
    assert (image == 128).all()
    np.testing.assert_array_equal(drawn[200, 100], class_color(0))
    np.testing.assert_array_equal(drawn[200, 200], [128, 128, 128])
    assert (drawn[85:98, 105:130] != 128).any()  # the label, above the box
    assert (drawn[310:] == 128).all()


@pytest.mark.parametrize("size", [(1, 1), (8, 300), (64, 64), (1500, 1000)])
@pytest.mark.parametrize(
    "predictions",
    [
        detections(),
        detections((0, 0, 1, 1), (0, 0, 64, 64), (5, 5, 5, 5), (-10, -10, 1e4, 1e4)),
        Classification(np.array([0.9, 0.1, 0], np.float32), np.array([5, 0, 1]), ("a" * 200, "b")),
        Classification(np.empty(0, np.float32), np.empty(0, np.int64)),
        Values({"x": np.zeros(3)}),
    ],
    ids=["none", "boxes", "classes", "no classes", "values"],
)
def test_any_prediction_can_be_drawn_on_any_image(size: tuple[int, int], predictions: Predictions) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    drawn = draw_predictions(image, predictions)
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    if isinstance(predictions, Values):
        np.testing.assert_array_equal(drawn, image)


def test_likelier_classes_have_longer_bars() -> None:
    image = np.zeros((600, 800, 3), np.uint8)
    drawn = draw_predictions(image, Classification(np.array([0.8, 0.2], np.float32), np.array([0, 1]), ("cat", "dog")))
    lengths = [(drawn == class_color(label)).all(axis=2).sum() for label in (0, 1)]
    assert lengths[0] > 2 * lengths[1] > 0


def test_colours_are_stable_far_apart_and_readable() -> None:
    assert class_color(3) == class_color(3)
    colors = [class_color(label) for label in range(12)]
    for one, other in itertools.combinations(colors, 2):
        assert np.linalg.norm(np.subtract(one, other)) > 35, (one, other)
    assert len({class_color(label) for label in range(1000)}) > 900
    assert text_color((255, 240, 100)) != text_color((20, 20, 90))


def test_long_names_are_cut_with_dots() -> None:
    assert fit_text("cat", 14, 100) == "cat"
    cut = fit_text("a very long name indeed", 14, 80)
    assert cut.endswith("...")
    assert text_width(cut, 14) <= 80


def test_fills_blend_and_stay_inside() -> None:
    image = np.zeros((20, 20, 3), np.uint8)
    fill_rounded(image, Rect(5, 5, 15, 15), (200, 100, 50), radius=0, opacity=0.5)
    np.testing.assert_array_equal(image[10, 10], [100, 50, 25])
    assert not image[:4].any()
    fill_rounded(image, Rect(50, 50, 60, 60), (255, 255, 255), radius=2)
    assert image.max() == 100
