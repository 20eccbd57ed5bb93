from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from adaptrt.errors import ModelError, UsageError
from adaptrt.options import fill_options
from adaptrt.predictions import Classification, Detections, ImageMeta, Values
from adaptrt.specs import ImageTransform, InputSpec, ModelSpec
from adaptrt.specs.decoders import find_decoder

META = ImageMeta((480, 640), (640, 640), scale=(1.0, 1.0), offset=(80.0, 0.0))
SPEC = ModelSpec((InputSpec.image(640, 640),), image=ImageTransform(), labels=("circle", "square", "star"))


def decode(name: str, outputs: Mapping[str, np.ndarray], spec: ModelSpec = SPEC, **params: Any) -> list[Any]:
    decoder = find_decoder(name)
    metas = [META] * len(next(iter(outputs.values())))
    return list(decoder.decode(outputs, metas, spec, fill_options(decoder.params, params)))


def yolo_output(*rows: tuple[float, ...], count: int = 8) -> np.ndarray:
    """[1, 7, count] with these candidates, cx cy w h and three scores, among empty ones."""
    raw = np.zeros((1, 7, count), np.float32)
    raw[0, :, : len(rows)] = np.array(rows, np.float32).T
    return raw


ROWS = [
    (100, 180, 40, 20, 0.1, 0.8, 0.2),
    (101, 181, 40, 20, 0.1, 0.6, 0.2),  # overlaps the first
    (100, 180, 40, 20, 0.5, 0.1, 0.2),  # does too, but is a circle
    (630, 550, 40, 40, 0.0, 0.0, 0.9),  # reaches over the right and lower edge
    (300, 300, 40, 40, 0.2, 0.25, 0.1),  # at the threshold, not above it
]


def test_yolo() -> None:
    (found,) = decode("yolo", {"output0": yolo_output(*ROWS)})
    assert isinstance(found, Detections)
    np.testing.assert_array_equal(found.labels, [2, 1, 0])
    np.testing.assert_allclose(found.scores, [0.9, 0.8, 0.5])
    np.testing.assert_array_equal(found.boxes, [[610, 450, 640, 480], [80, 90, 120, 110], [80, 90, 120, 110]])
    assert found.name(0) == "star"
    assert (found.boxes.dtype, found.scores.dtype, found.labels.dtype) == (np.float32, np.float32, np.int64)


def test_yolo_anchor_multiplies_by_objectness() -> None:
    raw = np.zeros((1, 8, 8), np.float32)
    raw[0, : len(ROWS)] = [(*row[:4], 0.9, *row[4:]) for row in ROWS]
    raw[0, 5] = (300, 300, 40, 40, 0.2, 1.0, 0, 0)  # a sure class, but probably no object
    (found,) = decode("yolo_anchor", {"output0": raw})
    np.testing.assert_array_equal(found.labels, [2, 1, 0])
    np.testing.assert_allclose(found.scores, [0.81, 0.72, 0.45], rtol=1e-6)
    np.testing.assert_array_equal(found.boxes[1], [80, 90, 120, 110])


def test_parameters_of_detectors() -> None:
    raw = {"output0": yolo_output(*ROWS)}
    assert len(decode("yolo", raw, conf=0.7)[0]) == 2
    assert len(decode("yolo", raw, conf=0.2)[0]) == 4
    assert len(decode("yolo", raw, iou=1.0)[0]) == 4
    assert len(decode("yolo", raw, max_det=1)[0]) == 1
    assert decode("yolo", raw, agnostic=True)[0].labels.tolist() == [2, 1]
    for classes in ([0, 2], ["circle", "star"], "circle,star", "0,2", ["0", "star"]):
        assert decode("yolo", raw, classes=classes)[0].labels.tolist() == [2, 0]


@pytest.mark.parametrize("name", ["yolo", "yolo_anchor"])
def test_nothing_found_and_an_empty_batch(name: str) -> None:
    shape = (2, 7, 50) if name == "yolo" else (2, 50, 8)
    first, second = decode(name, {"output0": np.zeros(shape, np.float32)})
    for found in (first, second):
        assert len(found) == 0
        assert found.boxes.shape == (0, 4)
        assert found.labels.dtype == np.int64
    assert decode(name, {"output0": np.zeros((0, *shape[1:]), np.float32)}) == []


def test_half_precision_output_becomes_float32() -> None:
    (found,) = decode("yolo", {"output0": yolo_output(*ROWS).astype(np.float16)})
    assert found.boxes.dtype == found.scores.dtype == np.float32
    assert found.labels.tolist() == [2, 1, 0]


def test_decoding_leaves_the_outputs_alone() -> None:
    raw = yolo_output(*ROWS)
    before = raw.copy()
    decode("yolo", {"output0": raw})
    np.testing.assert_array_equal(raw, before)


@pytest.mark.parametrize(
    ("name", "params", "says"),
    [
        ("yolo", {"conf": 1.5}, "conf must be between 0 and 1; got 1.5"),
        ("yolo", {"iou": -0.1}, "iou must be between 0 and 1; got -0.1"),
        ("yolo", {"max_det": 0}, "max_det must be at least 1; got 0"),
        ("yolo", {"classes": ["cirle"]}, "Did you mean 'circle'?"),
        ("yolo", {"classes": [3]}, "The classes are 0 to 2"),
        ("boxes", {"iou": 2}, "iou must be between 0 and 1; got 2"),
        ("boxes", {"conf": -1}, "conf must be between 0 and 1; got -1"),
        ("classify", {"top_k": 0}, "top_k must be at least 1; got 0"),
        ("yolo", {"agnostics": 1}, "Did you mean 'agnostic'?"),
    ],
)
def test_values_out_of_range_are_usage_errors(name: str, params: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        decode(name, {"output0": yolo_output()}, **params)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("name", "shape", "says"),
    [
        ("yolo", (1, 84, 8400), "80 classes"),
        ("yolo", (1, 8400, 7), "transposed"),
        ("yolo", (1, 25200, 8), "'yolo_anchor'"),
        ("yolo", (1, 7), "[1, 7]"),
        ("yolo_anchor", (1, 25200, 85), "80 classes"),
        ("yolo_anchor", (1, 8, 25200), "transposed"),
        ("yolo_anchor", (1, 7, 8400), "'yolo'"),
        ("classify", (1, 1000), "1000 classes"),
        ("classify", (1, 3, 2, 2), "[B, K]"),
        ("boxes", (1, 3), "scores, labels and boxes"),
    ],
)
def test_outputs_of_the_wrong_shape(name: str, shape: tuple[int, ...], says: str) -> None:
    with pytest.raises(ModelError) as caught:
        decode(name, {"output0": np.zeros(shape, np.float32)})
    assert says in str(caught.value)


@pytest.mark.parametrize("name", ["yolo", "yolo_anchor", "classify", "raw"])
def test_a_batch_that_does_not_match_the_images(name: str) -> None:
    decoder = find_decoder(name)
    with pytest.raises(ModelError, match="does not have 1"):
        decoder.decode({"output0": np.zeros((2, 7, 9), np.float32)}, [META], SPEC, decoder.params())


def test_without_labels_any_number_of_classes_will_do() -> None:
    spec = ModelSpec(SPEC.inputs, image=SPEC.image)
    (found,) = decode("yolo", {"output0": yolo_output(*ROWS)}, spec)
    assert found.name(0) == "2"
    assert len(decode("yolo_anchor", {"output0": np.zeros((1, 10, 6))}, spec)[0]) == 0


def test_classify() -> None:
    logits = np.array([[1.0, 3.0, 2.0], [1000.0, 0.0, 0.0]], np.float32)
    first, second = decode("classify", {"logits": logits}, top_k=2)
    assert isinstance(first, Classification)
    assert first.labels.tolist() == [1, 2]
    assert first.name(0) == "square"
    np.testing.assert_allclose(first.scores, np.exp([3, 2]) / np.exp([1, 2, 3]).sum(), rtol=1e-6)
    np.testing.assert_array_equal(second.scores, [1, 0])
    (third,) = decode("classify", {"p": np.array([[[[0.2]], [[0.3]], [[0.5]]]], np.float32)}, probabilities=True)
    np.testing.assert_array_equal(third.scores, np.float32([0.5, 0.3, 0.2]))


def boxes_outputs() -> dict[str, np.ndarray]:
    return {
        "scores": np.array([[0.3, 0.9, 0.1, 0.8]], np.float32),
        "labels": np.array([[0, 2, 1, 2]], np.int32),
        "boxes": np.array([[[0, 80, 10, 90], [0, 80, 20, 100], [0, 0, 1, 1], [1, 80, 21, 100]]], np.float32),
    }


def test_boxes() -> None:
    (found,) = decode("boxes", boxes_outputs())
    assert found.labels.tolist() == [2, 2, 0]
    np.testing.assert_array_equal(found.boxes, [[0, 0, 20, 20], [1, 0, 21, 20], [0, 0, 10, 10]])
    assert found.labels.dtype == np.int64
    assert decode("boxes", boxes_outputs(), iou=0.5)[0].labels.tolist() == [2, 0]
    assert decode("boxes", boxes_outputs(), classes="star", max_det=1)[0].scores.tolist() == [np.float32(0.9)]


def test_boxes_with_renamed_outputs_are_read_in_order() -> None:
    renamed = dict(zip(["confidence", "class", "xyxy"], boxes_outputs().values(), strict=True))
    assert decode("boxes", renamed)[0].labels.tolist() == [2, 2, 0]


def test_boxes_that_contradict_each_other() -> None:
    for change, says in [
        ({"labels": np.zeros((1, 4), np.float32)}, "integer"),
        ({"labels": np.full((1, 4), 3)}, "3 labels"),
        ({"boxes": np.zeros((1, 3, 4), np.float32)}, r"\[1, 3, 4\]"),
    ]:
        with pytest.raises(ModelError, match=says):
            decode("boxes", {**boxes_outputs(), **change})


def test_raw_gives_each_sample_its_values() -> None:
    outputs = {"a": np.arange(6).reshape(2, 3), "b": np.array([5.0, 6.0])}
    first, second = decode("raw", outputs)
    assert isinstance(first, Values)
    np.testing.assert_array_equal(first.arrays["a"], [0, 1, 2])
    assert second.arrays["b"] == 6
    decoder = find_decoder("raw")
    assert len(decoder.decode(outputs, [], SPEC, decoder.params())) == 2
    with pytest.raises(ModelError, match="does not have 2 samples"):
        decode("raw", {"a": np.zeros((2, 3)), "b": np.zeros(())})
