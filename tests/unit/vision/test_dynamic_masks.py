"""Masks that each object's own small network draws from shared features."""

from __future__ import annotations

import numpy as np
import pytest

from adaptrt.errors import ModelError
from adaptrt.predictions import ImageMeta, Segments
from adaptrt.specs import DecoderSpec, InputSpec, ModelSpec
from adaptrt.vision.decoders.decode import decode

SIZE = (32, 64)
CELLS = 4 * 8 + 2 * 4
PARAMS = {"conf": 0.3, "strides": [8, 16], "layers": 2, "channels": 2}
META = ImageMeta(SIZE, SIZE)


def spec(**params: object) -> ModelSpec:
    return ModelSpec(
        inputs=(InputSpec.image(*SIZE),), task="segment", decoder=DecoderSpec("dynamic_masks", {**PARAMS, **params})
    )


def outputs() -> dict[str, np.ndarray]:
    """Two objects at cells (1, 2) of each level; their masks: left of the point, and where the feature is positive."""
    boxes, scores = np.zeros((1, CELLS, 4), np.float32), np.zeros((1, CELLS, 2), np.float32)
    kernels, features = np.zeros((1, CELLS, 11), np.float32), np.full((1, 1, 4, 8), -1, np.float32)
    features[0, 0, :, 6:] = 1
    for place, kernel in (
        (8 + 2, [1, 0, 0, 0, 0, 0, 1, -1, 0, 0, 0]),
        (32 + 4 + 2, [0, 0, 1, 0, 0, -1, 1, -1, 0, 0, 0]),
    ):
        boxes[0, place] = (10, 4, 50, 28)
        scores[0, place] = (0.9, 0.1) if place < 32 else (0.1, 0.8)
        kernels[0, place] = kernel
    return {"boxes": boxes, "scores": scores, "kernels": kernels, "mask_features": features}


def test_masks_of_two_objects() -> None:
    """Not cropped to the box; the boundary is that of linear interpolation between cells."""
    (found,) = decode(outputs(), [META], spec())
    assert isinstance(found, Segments)
    assert found.labels.tolist() == [0, 1]
    left, right = (mask.in_image(SIZE) for mask in found.masks)
    assert left[:, :19].all()  # the point is at x = 16, in the corner of a cell whose center is at 20
    assert not left[:, 21:].any()
    assert right[:, 53:].all()  # between the centers 44 and 52 of two cells, where -1 becomes 1, relu shifts nothing
    assert not right[:, :47].any()
    assert found.masks[0].bitmap.all()
    assert found.masks[0].left == found.masks[0].top == 0


def test_the_threshold_moves_the_boundary() -> None:
    areas = [decode(outputs(), [META], spec(mask_threshold=value))[0].masks[1].area for value in (0.3, 0.5, 0.7)]  # type: ignore[union-attr]
    assert areas == sorted(areas, reverse=True)
    assert len(set(areas)) == 3


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("kernels", (1, CELLS, 10), "A kernel has 10 parameters; 2 convolutions with 2 channels on 1 features have 11"),
        ("kernels", (1, CELLS - 1, 11), "kernels .B, N, P. for the N boxes"),
        ("mask_features", (1, 4, 8), "mask_features .B, F, h, w."),
    ],
)
def test_other_shapes_are_errors(name: str, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        decode({**outputs(), name: np.zeros(shape, np.float32)}, [META], spec())


def test_a_missing_output_is_named() -> None:
    given = outputs()
    del given["kernels"]
    with pytest.raises(ModelError, match="expects outputs kernels"):
        decode(given, [META], spec())
