"""Our crop, bit for bit timm's evaluation transform."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptrt.specs import ImageTransform
from adaptrt.vision.transforms import transform_image

pytest.importorskip("timm", reason="compares with timm's evaluation transform")

from PIL import Image
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, create_transform

OURS = {"bicubic": "cubic", "bilinear": "linear", "nearest": "nearest"}


def check(shape: tuple[int, int], size: tuple[int, int], crop_pct: float, interpolation: str, **norm: object) -> None:
    image = np.random.default_rng(shape[0]).integers(0, 256, (*shape, 3), dtype=np.uint8)
    transform = ImageTransform(
        resize="crop",
        library="pil",
        interpolation=OURS[interpolation],  # type: ignore[arg-type]
        crop_fraction=crop_pct,
        **norm,  # type: ignore[arg-type]
    )
    theirs = create_transform((3, *size), interpolation=interpolation, crop_pct=crop_pct, **norm)
    ours, _ = transform_image(image, transform, size)
    np.testing.assert_array_equal(ours, theirs(Image.fromarray(image)).numpy())


@pytest.mark.parametrize("interpolation", OURS)
@pytest.mark.parametrize("crop_pct", [0.875, 0.9, 1.0])
@pytest.mark.parametrize("size", [(224, 224), (384, 384), (448, 320)])
def test_pretrained_configs(size: tuple[int, int], crop_pct: float, interpolation: str) -> None:
    for shape in [(480, 640), (641, 427)]:
        check(shape, size, crop_pct, interpolation, mean=IMAGENET_DEFAULT_MEAN, std=IMAGENET_DEFAULT_STD)


@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(st.integers(2, 400), st.integers(2, 400)),
    size=st.sampled_from([(224, 224), (96, 96), (64, 128), (130, 50)]),
    crop_pct=st.sampled_from([0.8, 0.875, 0.9, 0.95, 1.0]),
    interpolation=st.sampled_from(["bicubic", "bilinear"]),
)
def test_any_size(shape: tuple[int, int], size: tuple[int, int], crop_pct: float, interpolation: str) -> None:
    check(shape, size, crop_pct, interpolation, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
