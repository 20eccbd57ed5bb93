"""Integer weights give OpenCV's pixels, bit for bit."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from adaptrt import ImageTransform
from adaptrt.vision.taps import resample, taps_of

SIZES = [
    ((72, 128), (36, 64)),  # exactly half, which OpenCV computes as an average
    ((108, 192), (36, 64)),
    ((216, 384), (36, 64)),
    ((64, 64), (64, 64)),
    ((37, 53), (91, 120)),
    ((1, 1), (8, 8)),
    ((2, 1), (1, 2)),
    ((33, 50), (42, 64)),
    ((64, 63), (63, 64)),
]


def check(interpolation: str, flag: int, sizes: list[tuple[tuple[int, int], tuple[int, int]]]) -> None:
    rng = np.random.default_rng(0)
    for source, target in sizes:
        for channels in (1, 3, 4, 5):
            taps = taps_of(ImageTransform(interpolation=interpolation), source, target, channels)  # type: ignore[arg-type]
            if taps is None:
                assert channels == 5
                continue
            image = rng.integers(0, 256, (*source, channels), np.uint8)
            for pixels in (image, np.where(image > 127, 255, 0).astype(np.uint8)):
                expected = cv2.resize(pixels, target[::-1], interpolation=flag).reshape(*target, channels)
                np.testing.assert_array_equal(resample(pixels, taps), expected, err_msg=f"{source} to {target}")


@pytest.mark.parametrize(("interpolation", "flag"), [("linear", cv2.INTER_LINEAR), ("nearest", cv2.INTER_NEAREST)])
def test_pixels_are_those_of_opencv(interpolation: str, flag: int) -> None:
    check(interpolation, flag, SIZES)


@pytest.mark.full
@pytest.mark.parametrize(("interpolation", "flag"), [("linear", cv2.INTER_LINEAR), ("nearest", cv2.INTER_NEAREST)])
def test_pixels_are_those_of_opencv_at_many_sizes(interpolation: str, flag: int) -> None:
    rng = np.random.default_rng(1)
    sizes = [tuple(map(int, rng.integers(1, 300, 4))) for _ in range(150)]
    check(interpolation, flag, [((a, b), (c, d)) for a, b, c, d in sizes])


def test_other_resampling_has_no_weights() -> None:
    for transform in (
        ImageTransform(interpolation="cubic"),
        ImageTransform(interpolation="area"),
        ImageTransform(library="pil"),
    ):
        assert taps_of(transform, (8, 8), (4, 4)) is None
        assert taps_of(transform, (8, 8), (8, 8)) is not None
