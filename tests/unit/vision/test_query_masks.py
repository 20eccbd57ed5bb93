"""Objects from masks of queries."""

from __future__ import annotations

import numpy as np
import pytest

from adaptrt.errors import ModelError, UsageError
from adaptrt.predictions import ImageMeta, Segments
from adaptrt.specs import DecoderSpec, InputSpec, ModelSpec
from adaptrt.vision.decoders.decode import decode

SIZE = (32, 64)
META = ImageMeta(SIZE, SIZE)


def spec(**params: object) -> ModelSpec:
    return ModelSpec(
        inputs=(InputSpec.image(*SIZE),), task="segment", decoder=DecoderSpec("query_masks", {"conf": 0.2, **params})
    )


def outputs() -> dict[str, np.ndarray]:
    """Three queries: the left half with certainty, the right half without, and nothing."""
    scores = np.array([[[0.9, 0.6], [0.05, 0.8], [0.7, 0.1]]], np.float32)
    masks = np.full((1, 3, 8, 16), -9, np.float32)
    masks[0, 0, :, :8] = 9
    masks[0, 1, :, 8:] = 0.4
    masks[0, 1, :, :8] = -0.4
    return {"scores": scores, "masks": masks}


def test_pairs_of_query_and_class_are_objects() -> None:
    """A query may be two of them; the score is that of the class times the mean probability of the mask."""
    (found,) = decode(outputs(), [META], spec())
    assert isinstance(found, Segments)
    assert found.labels.tolist() == [0, 1, 1]
    sure, unsure = 1.0, 1 / (1 + np.exp(-0.4))
    assert np.allclose(found.scores, [0.9 * sure, 0.6 * sure, 0.8 * unsure], atol=0.02)
    assert found.boxes.tolist() == [[0, 0, 32, 32], [0, 0, 32, 32], [32, 0, 64, 32]]
    left, _, right = (mask.in_image(SIZE) for mask in found.masks)
    assert np.array_equal(left, ~right)
    assert left[:, :32].all()


def test_pairs_are_chosen_before_their_masks_are_known() -> None:
    """As in mmdet: the third best pair is no object, because its mask is empty, and nothing takes its place."""
    assert [len(decode(outputs(), [META], spec(pairs=pairs))[0]) for pairs in (1, 2, 3, 4)] == [1, 2, 2, 3]


def test_classes_without_instances_are_ignored() -> None:
    assert decode(outputs(), [META], spec(things=1))[0].labels.tolist() == [0]


def test_padding_is_cut_off_before_the_mask_is_enlarged() -> None:
    """An image of twice the size, in the upper half of the tensor."""
    meta = ImageMeta((32, 128), SIZE, scale=(0.5, 0.5))
    (found,) = decode(outputs(), [meta], spec())
    assert found.boxes.tolist()[0] == [0, 0, 64, 32]


def test_nothing_is_found() -> None:
    (found,) = decode(outputs(), [META], spec(conf=0.95))
    assert len(found) == 0
    assert found.boxes.shape == (0, 4)


@pytest.mark.parametrize("name", ["scores", "masks"])
def test_other_outputs_are_errors(name: str) -> None:
    given = outputs()
    with pytest.raises(ModelError, match=r"scores \[B, Q, C\] and masks \[B, Q, h, w\]"):
        decode({**given, name: given[name][:, :2]}, [META], spec())
    del given[name]
    with pytest.raises(ModelError, match=f"expects outputs {name}"):
        decode(given, [META], spec())


def test_there_is_no_nms() -> None:
    with pytest.raises(UsageError, match="has no NMS"):
        decode(outputs(), [META], spec(iou=0.5))
