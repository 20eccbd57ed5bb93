"""Detections of graphs that end in NMS."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adaptrt import DecoderSpec, ImageMeta, InputSpec, ModelError, ModelSpec, UsageError
from adaptrt.specs.decoders import find_decoder
from adaptrt.vision.decoders.decode import decode

META = ImageMeta((100, 200), (100, 200))
OWN = ("num_dets", "det_boxes", "det_scores", "det_classes")
FOREIGN = ("num_detections", "detection_boxes", "detection_scores", "detection_classes")


def spec(**params: Any) -> ModelSpec:
    return ModelSpec(
        (InputSpec.image(100, 200),), task="detect", decoder=DecoderSpec("efficient_nms", params), labels=("a", "b")
    )


def outputs(names: tuple[str, ...] = OWN, counts: tuple[int, ...] = (2, 0)) -> dict[str, np.ndarray]:
    boxes = np.tile(np.array([[1, 2, 30, 40], [5, 6, 70, 80], [9, 9, 9, 9]], np.float32), (2, 1, 1))
    scores = np.tile(np.array([0.9, 0.4, 0.8], np.float32), (2, 1))
    labels = np.tile(np.array([1, 0, 7], np.int32), (2, 1))
    return dict(zip(names, (np.array([[count] for count in counts], np.int32), boxes, scores, labels), strict=True))


@pytest.mark.parametrize("names", [OWN, FOREIGN])
def test_rows_beyond_the_count_are_padding(names: tuple[str, ...]) -> None:
    first, second = decode(outputs(names), [META, META], spec())
    assert first.boxes.tolist() == [[1, 2, 30, 40], [5, 6, 70, 80]]
    assert first.labels.tolist() == [1, 0]
    assert len(second) == 0
    (confident, _) = decode(outputs(names), [META, META], spec(conf=0.5))
    assert confident.labels.tolist() == [1]
    (filtered, _) = decode(outputs(names), [META, META], spec(classes=["a"]))
    assert filtered.labels.tolist() == [0]


def test_what_the_outputs_say_about_themselves() -> None:
    problems = find_decoder("efficient_nms").problems
    assert problems is not None
    assert not problems(outputs())
    assert not problems({**outputs(), "nms_converged": np.ones((2, 1), np.int32)})
    (problem,) = problems({**outputs(), "nms_converged": np.array([[1], [0]], np.int32)})
    assert "of image 2 of the batch" in problem


def test_what_is_no_such_output() -> None:
    with pytest.raises(ModelError, match="expects num_dets, det_boxes"):
        decode({"raw": np.zeros((2, 7, 9), np.float32)}, [META, META], spec())
    with pytest.raises(ModelError, match="only 3 rows"):
        decode(outputs(counts=(4, 0)), [META, META], spec())
    with pytest.raises(ModelError, match="class 7"):
        decode(outputs(counts=(3, 0)), [META, META], spec())
    with pytest.raises(ModelError, match="got num_dets"):
        decode({**outputs(), "det_scores": np.zeros((2, 4), np.float32)}, [META, META], spec())
    with pytest.raises(UsageError, match="NMS is in the graph"):
        decode(outputs(), [META, META], spec(iou=0.5))
