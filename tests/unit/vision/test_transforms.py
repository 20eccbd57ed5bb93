from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adaptrt.errors import ImageError, ModelError, ShapeError
from adaptrt.specs import Dim, ImageTransform, InputSpec, ModelSpec
from adaptrt.vision.boxes import boxes_to_original
from adaptrt.vision.opencv import cv2
from adaptrt.vision.transforms import transform_batch, transform_image


def random_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_stretch_is_a_resize_and_a_division() -> None:
    image = random_image(50, 70)
    array, meta = transform_image(image, ImageTransform(resize="stretch"), (32, 64))
    expected = cv2.resize(image, (64, 32)).astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(array, expected.transpose(2, 0, 1))
    assert (meta.original_size, meta.input_size, meta.offset) == ((50, 70), (32, 64), (0, 0))
    assert meta.scale == (32 / 50, 64 / 70)


def test_channel_order_scale_mean_and_std() -> None:
    image = random_image(8, 8)
    transform = ImageTransform(
        resize="stretch", colors="bgr", scale=1.0, mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395)
    )
    array, _ = transform_image(image, transform, (8, 8))
    expected = (image[..., ::-1].astype(np.float32) - np.float32(transform.mean)) / np.float32(transform.std)
    np.testing.assert_array_equal(array, expected.transpose(2, 0, 1))
    odd = transform_image(image, ImageTransform(resize="stretch", scale=0.017), (8, 8))[0]
    np.testing.assert_allclose(odd, image.transpose(2, 0, 1) * 0.017, rtol=1e-6)


@pytest.mark.parametrize("center", [True, False])
def test_letterbox_pads_around_or_behind(center: bool) -> None:
    white = np.full((10, 30, 3), 255, np.uint8)
    transform = ImageTransform(center=center, pad=51, mean=(0.1, 0.2, 0.3))
    array, meta = transform_image(white, transform, (60, 60))
    top = 20 if center else 0
    assert meta.offset == (top, 0)
    assert meta.scale == (2, 2)
    inside = np.zeros((60, 60), bool)
    inside[top : top + 20] = True
    for channel, mean in zip(array, transform.mean, strict=True):
        np.testing.assert_allclose(channel[inside], 1 - mean, rtol=1e-6)
        np.testing.assert_allclose(channel[~inside], 0.2 - mean, atol=1e-7)


@pytest.mark.parametrize("library", ["cv2", "pil"])
@pytest.mark.parametrize("interpolation", ["nearest", "linear", "cubic", "area"])
@pytest.mark.parametrize("resize", ["letterbox", "stretch", "crop"])
def test_every_combination_fills_the_input(resize: str, interpolation: str, library: str) -> None:
    transform = ImageTransform(resize=resize, interpolation=interpolation, library=library)  # type: ignore[arg-type]
    slot = np.full((3, 32, 48), np.nan, np.float32)
    array, _ = transform_image(random_image(40, 90), transform, (32, 48), out=slot)
    assert array is slot
    assert ((array >= 0) & (array <= 1)).all()


@pytest.mark.parametrize(
    ("interpolation", "mode"), [("nearest", "nearest"), ("linear", "bilinear"), ("cubic", "bicubic")]
)
@pytest.mark.parametrize("source", [(40, 90), (64, 96), (129, 33), (20, 31)])
def test_a_resize_in_float_is_that_of_torch(
    source: tuple[int, int], interpolation: Literal["linear"], mode: str
) -> None:
    """Normalized first and resized then, as torchvision's detectors do: not rounded to pixel values in between."""
    torch = pytest.importorskip("torch", reason="the result is compared with torch")
    image, mean, std = random_image(*source), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    transform = ImageTransform(resize="stretch", library="torch", interpolation=interpolation, mean=mean, std=std)
    array, _ = transform_image(image, transform, (32, 48))
    values = torch.from_numpy(((image / np.float32(255) - np.float32(mean)) / np.float32(std)).transpose(2, 0, 1)[None])
    corners = {} if mode == "nearest" else {"align_corners": False}
    expected = torch.nn.functional.interpolate(values, size=(32, 48), mode=mode, **corners)[0].numpy()
    np.testing.assert_allclose(array, expected, atol=2e-5)
    rounded, _ = transform_image(image, replace(transform, library="cv2"), (32, 48))
    assert interpolation == "nearest" or float(abs(rounded - expected).max()) > 1e-3


def test_a_resize_in_float_of_any_number_of_bands_and_what_it_cannot_do() -> None:
    gray = np.full((10, 30, 1), 51, np.uint8)
    out = np.empty((1, 20, 20), np.float32)
    transform_image(gray, ImageTransform(library="torch", pad=102), (20, 20), out=out)
    np.testing.assert_allclose(np.unique(out), [0.2, 0.4], rtol=1e-6)
    for unsupported in ({"interpolation": "area"}, {"embedded": True}):
        with pytest.raises(ShapeError, match="library torch resizes in float32"):
            ImageTransform(library="torch", **unsupported)


def test_crop_keeps_the_middle() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    image[45:55, 95:105] = 255
    array, meta = transform_image(image, ImageTransform(resize="crop", crop_fraction=0.5), (50, 50))
    assert meta.offset == (-25, -75)
    assert array[:, 20:30, 20:30].min() == 1
    assert array.sum() == 3 * 100
    for shape, fraction in (((1, 1 << 21, 3), 1.0), ((50, 50, 3), 1e-300)):  # a thin image, a hostile spec
        with pytest.raises(ImageError, match="too large"):
            transform_image(
                np.zeros(shape, np.uint8), ImageTransform(resize="crop", crop_fraction=fraction), (224, 224)
            )
    with pytest.raises(ShapeError, match="crop_fraction"):
        transform_image(image, ImageTransform(resize="crop", crop_fraction=1.5), (50, 50))


def test_batch_of_different_sizes_uses_the_opt_size() -> None:
    shape = (Dim(1, 2, 4, "batch"), Dim.fixed(3), Dim(32, 64, 128), Dim(32, 96, 128))
    spec = ModelSpec((InputSpec("pixels", (shape,)),), image=ImageTransform(input="pixels"))
    images = [random_image(50, 70), random_image(10, 400), random_image(64, 96)]
    inputs, metas = transform_batch(images, spec)
    assert list(inputs) == ["pixels"]
    assert inputs["pixels"].shape == (3, 3, 64, 96)
    assert inputs["pixels"].dtype == np.float32
    for image, row, meta in zip(images, inputs["pixels"], metas, strict=True):
        alone, meta_alone = transform_image(image, ImageTransform(), (64, 96))
        np.testing.assert_array_equal(row, alone)
        assert meta == meta_alone
    assert transform_batch([], spec)[0]["pixels"].shape == (0, 3, 64, 96)


def test_a_model_without_images_and_an_image_that_is_none() -> None:
    with pytest.raises(ModelError, match="has no image input"):
        transform_batch([random_image(8, 8)], ModelSpec((InputSpec.image(32, 32),)))
    with pytest.raises(ImageError, match=r"float64 \[8, 8, 3\]"):
        transform_image(random_image(8, 8) / 255, ImageTransform(), (32, 32))


@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    size=st.tuples(st.integers(8, 100), st.integers(8, 100)),
    resize=st.sampled_from(["letterbox", "stretch", "crop"]),
)
@example(height=300, width=1, size=(100, 100), resize="crop")
def test_boxes_go_there_and_back(height: int, width: int, size: tuple[int, int], resize: str) -> None:
    _, meta = transform_image(random_image(height, width), ImageTransform(resize=resize), size)  # type: ignore[arg-type]
    corners = np.array([[0, 0, width, height], [width / 4, height / 4, width / 2, height / 2]], np.float32)
    scale, offset = np.float32(meta.scale[::-1] * 2), np.float32(meta.offset[::-1] * 2)
    np.testing.assert_allclose(boxes_to_original(corners * scale + offset, meta), corners, rtol=1e-3, atol=1e-3)
    # beyond the image even if a crop enlarged one of 300 x 1 pixels a hundred times
    outside = boxes_to_original(np.array([[-1e6, -1e6, 1e6, 1e6]], np.float32), meta)
    np.testing.assert_array_equal(outside, [[0, 0, width, height]])


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("library", ["cv2", "pil"])
def test_each_band_is_treated_alike(channels: int, library: Literal["cv2", "pil"]) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (30, 41, 3), np.uint8)
    bands = np.repeat(rgb[..., :1], channels, axis=2)
    transform = ImageTransform(library=library, mean=(0.25,), std=(2.0,))
    out = np.empty((channels, 32, 64), np.float32)
    _, meta = transform_image(bands, transform, (32, 64), out=out)
    alone, expected = transform_image(rgb, transform, (32, 64))
    assert all(np.array_equal(plane, alone[0]) for plane in out)
    assert meta == expected


def test_bands_need_a_mean_each() -> None:
    with pytest.raises(ShapeError, match="mean has values"):
        transform_image(
            np.zeros((8, 8, 4), np.uint8),
            ImageTransform(mean=(0.1, 0.2, 0.3)),
            (8, 8),
            out=np.empty((4, 8, 8), np.float32),
        )
