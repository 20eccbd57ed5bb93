"""The decoders of this distribution, on outputs made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from adaptrt import DecoderSpec, ImageMeta, InputSpec, ModelError, ModelSpec, UsageError
from adaptrt.specs.decoders import find_decoder
from adaptrt.vision.decoders.decode import decode

META = ImageMeta((100, 200), (50, 100), (0.5, 0.5))
LABELS = ("a", "b", "c")


def spec(decoder: str, **params: object) -> ModelSpec:
    return ModelSpec(
        (InputSpec.image(50, 100),), task="detect", labels=LABELS, decoder=DecoderSpec(decoder, dict(params))
    )


def test_they_are_found_by_name() -> None:
    for name in ("queries", "dense"):
        assert find_decoder(name).name == name


def test_queries_give_the_best_pairs_of_query_and_class() -> None:
    scores = np.array([[[0.9, 0.1, 0.8], [0.2, 0.7, 0.0]]], np.float32)
    boxes = np.array([[[0, 0, 10, 10], [20, 20, 40, 60]]], np.float32)
    outputs = {"scores": scores, "boxes": boxes}
    found = decode(outputs, [META], spec("queries"))[0]
    assert found.labels.tolist() == [0, 2, 1]
    assert found.scores.tolist() == pytest.approx([0.9, 0.8, 0.7])
    assert found.boxes.tolist() == [[0, 0, 20, 20], [0, 0, 20, 20], [40, 40, 80, 100]], "back in the image, clipped"
    assert len(decode(outputs, [META], spec("queries", max_det=2))[0]) == 2
    assert decode(outputs, [META], spec("queries", classes=["b"]))[0].labels.tolist() == [1]
    assert decode(outputs, [META], spec("queries", iou=0.5, agnostic=True))[0].labels.tolist() == [0, 1]
    assert len(decode(outputs, [META], spec("queries", conf=0.95))[0]) == 0
    with pytest.raises(ModelError, match=r"scores \[B, Q, C\]"):
        decode({"scores": scores[0], "boxes": boxes}, [META], spec("queries"))
    with pytest.raises(UsageError, match="between 0 and 1"):
        decode(outputs, [META], spec("queries", iou=2.0))


def test_dense_points_with_distances() -> None:
    """One level of stride 50: two cells; the second has an object."""
    logits = np.full((1, 2, 3), -9, np.float32)
    logits[0, 1, 2] = 2.0
    boxes = np.array([[[1, 1, 1, 1], [10, 20, 30, 20]]], np.float32)
    found = decode(
        {"logits": logits, "boxes": boxes},
        [META],
        spec("dense", coding="distance", strides=[50], offset=0.5),
    )[0]
    assert found.labels.tolist() == [2]
    assert found.scores[0] == pytest.approx(1 / (1 + np.exp(-2)))
    assert found.boxes[0].tolist() == [130, 10, 200, 90]
    factors = np.array([[0.0, 0.0]], np.float32)
    halved = decode(
        {"logits": logits, "boxes": boxes, "factors": factors},
        [META],
        spec("dense", coding="distance", strides=[50], offset=0.5),
    )[0]
    assert halved.scores[0] == pytest.approx(found.scores[0] / 2)


def test_dense_has_one_threshold() -> None:
    logits = np.full((1, 2, 3), -9, np.float32)
    logits[0, 1, 2] = -4.0  # 0.018: below mmdet's score_thr of 0.05
    outputs = {"logits": logits, "boxes": np.full((1, 2, 4), 20, np.float32)}
    for conf, count in ((0.25, 0), (0.02, 0), (0.01, 1)):
        found = decode(outputs, [META], spec("dense", coding="distance", strides=[50], offset=0.5, conf=conf))[0]
        assert len(found) == count


def test_dense_outputs_that_do_not_fit() -> None:
    with pytest.raises(ModelError, match="5 candidates, but there are 2"):
        decode(
            {"logits": np.zeros((1, 5, 3), np.float32), "boxes": np.zeros((1, 5, 4), np.float32)},
            [META],
            spec("dense", coding="distance", strides=[50]),
        )
    with pytest.raises(ModelError, match="expects logits"):
        decode({"scores": np.zeros((1, 5, 3), np.float32)}, [META], spec("dense"))
