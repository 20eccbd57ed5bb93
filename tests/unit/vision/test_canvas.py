"""What is drawn with: colors, text, filled shapes."""

import itertools

import numpy as np

from adaptrt.vision.canvas import Rect, fill_rounded, fit_text, text_width
from adaptrt.vision.colors import class_color, text_color


def test_colors_are_stable_far_apart_and_readable() -> None:
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
