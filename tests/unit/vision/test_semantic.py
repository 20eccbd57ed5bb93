"""Decoder ``semantic``: the class of each pixel of the original image, as torch's interpolation finds it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adaptrt import DecoderSpec, ImageMeta, ImageTransform, InputSpec, ModelError, ModelSpec, SemanticMap
from adaptrt.vision.decoders.decode import decode

NAMES = ("background", "red", "blue")


def spec(**params: Any) -> ModelSpec:
    return ModelSpec(
        (InputSpec.image(32, 48),),
        task="semantic",
        image=ImageTransform(resize="stretch"),
        decoder=DecoderSpec("semantic", params),
        labels=NAMES,
    )


def smooth(rng: np.random.Generator, size: tuple[int, int]) -> Any:
    """Logits [1, 3, h, w] with areas of several pixels."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    waves = [np.sin(rows * a + columns * b + c) for a, b, c in rng.uniform(0.1, 0.6, (3, 3)) * (1, 1, 9)]
    return np.stack(waves)[None].astype(np.float32)


def stretched(original: tuple[int, int], size: tuple[int, int] = (32, 48)) -> ImageMeta:
    return ImageMeta(original, size, (size[0] / original[0], size[1] / original[1]))


@pytest.mark.parametrize("original", [(32, 48), (75, 100), (20, 31)], ids=["same", "larger", "smaller"])
@pytest.mark.parametrize("output", [(32, 48), (8, 12), (16, 24)], ids=str)
def test_linear_is_what_torch_interpolates(original: tuple[int, int], output: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch", reason="the decoder is compared with its interpolation")
    logits = smooth(np.random.default_rng(1), output)
    (found,) = decode({"logits": logits}, [stretched(original)], spec())
    assert isinstance(found, SemanticMap)
    resized = torch.nn.functional.interpolate(torch.from_numpy(logits), original, mode="bilinear", align_corners=False)
    top = resized.topk(2, dim=1).values[0]
    sure = (top[0] - top[1]).numpy() > 1e-5
    expected = resized.argmax(1)[0].numpy()
    assert len(np.unique(expected)) == 3
    assert found.labels.dtype == np.uint8
    assert found.names == NAMES
    np.testing.assert_array_equal(found.labels[sure], expected[sure])
    assert sure.mean() > 0.99


@pytest.mark.parametrize("original", [(75, 100), (20, 31)], ids=["larger", "smaller"])
def test_nearest_is_what_torch_finds(original: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch", reason="the decoder is compared with its interpolation")
    logits = smooth(np.random.default_rng(2), (32, 48))
    (found,) = decode({"logits": logits}, [stretched(original)], spec(resize="nearest"))
    best = torch.from_numpy(logits).argmax(1, keepdim=True).float()
    expected = torch.nn.functional.interpolate(best, original, mode="nearest-exact")[0, 0].numpy()
    np.testing.assert_array_equal(found.labels, expected)


def test_padding_is_cut_off() -> None:
    """The input holds the image in its middle; what is around it belongs to no pixel."""
    logits = np.full((1, 3, 32, 48), -9, np.float32)
    logits[0, 2] = 5  # the padding is blue
    logits[0, 2, 8:24] = -9
    logits[0, 1, 8:24, :24] = 3
    logits[0, 0, 8:24, 24:] = 3
    meta = ImageMeta((32, 96), (32, 48), (0.5, 0.5), (8.0, 0.0))
    for resize in ("linear", "nearest"):
        (found,) = decode({"logits": logits}, [meta], spec(resize=resize))
        assert found.labels.shape == (32, 96)
        assert (found.labels[2:-2, :47] == 1).all()
        assert (found.labels[2:-2, 49:] == 0).all()


@pytest.mark.parametrize("shape", [(1, 4, 6), (1, 1, 4, 6)], ids=["map", "map with a channel"])
def test_indices_are_taken_as_they_are(shape: tuple[int, ...]) -> None:
    indices = np.zeros((4, 6), np.int64)
    indices[:, 3:] = 2
    (found,) = decode({"classes": indices.reshape(shape)}, [stretched((8, 12), (4, 6))], spec())
    assert found.labels.tolist() == [[0] * 6 + [2] * 6] * 8


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (np.zeros((1, 5, 4, 6), np.float32), r"expects logits \[1, 3, h, w\]"),
        (np.zeros((1, 1, 4, 6), np.float32), "at least two classes"),
        (np.zeros((1, 4, 6), np.float32), "class indices"),
        (np.zeros((2, 3, 4, 6), np.float32), "does not have 1 images"),
        (np.full((1, 4, 6), 3, np.int64), "contains classes 3 to 3, but the spec has 3 labels"),
        (np.full((1, 4, 6), -1, np.int64), "contains classes -1 to -1"),
    ],
)
def test_what_does_not_fit_is_refused(output: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        decode({"logits": output}, [stretched((8, 12), (4, 6))], spec())


def test_more_classes_than_a_byte_holds() -> None:
    logits = np.zeros((1, 300, 2, 2), np.float32)
    logits[0, 299] = 1
    unnamed = ModelSpec((InputSpec.image(2, 2),), task="semantic", decoder=DecoderSpec("semantic"))
    (found,) = decode({"logits": logits}, [stretched((2, 2), (2, 2))], unnamed)
    assert (found.labels.dtype, found.labels.max()) == (np.int32, 299)
