"""Detections of graphs that end in NMS."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adaptrt import DecoderSpec, ImageMeta, ImageTransform, InputSpec, ModelError, ModelSpec, UsageError
from adaptrt.specs.decoders import find_decoder
from adaptrt.vision.decoders.decode import decode
from adaptrt.vision.placement import place

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
    metas = [META, META]
    assert not problems(outputs(), metas, spec())
    assert not problems({**outputs(), "nms_converged": np.ones((2, 1), np.int32)}, metas, spec())
    (problem,) = problems({**outputs(), "nms_converged": np.array([[1], [0]], np.int32)}, metas, spec())
    assert problem.startswith("NMS in the graph did not converge for image 2 of the batch:")


def test_padding_that_the_graph_does_not_know_is_reported() -> None:
    """For images that do not fill the input, and only if boxes were clipped to the input."""
    problems = find_decoder("efficient_nms").problems
    assert problems is not None
    height, width = META.input_size
    transform = ImageTransform(resize="letterbox", stride=1)
    metas = [place(size, transform, META.input_size).meta for size in ((height, width), (2 * height, width // 3))]
    (problem,) = problems(outputs(), metas, spec(clipped_to="input"))
    assert problem.startswith("Boxes of image 2 of the batch that extend into the padding")
    assert "convert again without --nms" in problem
    assert not problems(outputs(), metas[:1], spec(clipped_to="input"))
    assert not problems(outputs(), metas, spec())
    for size in range(17, 60, 7):  # rounded to a whole pixel
        filling = place((height * size, width * size), transform, META.input_size).meta
        assert not problems(outputs(), [filling], spec(clipped_to="input"))


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
