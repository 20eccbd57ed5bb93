"""Boxes and a score for every class, before NMS."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adaptrt import DecoderSpec, ImageMeta, InputSpec, ModelError, ModelSpec, OutputSpec
from adaptrt.specs.decoders import find_decoder
from adaptrt.vision.decoders.decode import decode

META = ImageMeta((100, 200), (100, 200))
LABELS = ("a", "b", "c")


def spec(**params: Any) -> ModelSpec:
    return ModelSpec(
        (InputSpec.image(100, 200),),
        (OutputSpec("boxes", ("batch", 2, 4)), OutputSpec("scores", ("batch", 2, 3))),
        task="detect",
        decoder=DecoderSpec("box_scores", params),
        labels=LABELS,
    )


def outputs() -> dict[str, np.ndarray]:
    boxes = np.array([[[10, 10, 50, 50], [120, 20, 230, 90]]], np.float32)
    scores = np.array([[[0.9, 0.1, 0.8], [0.2, 0.7, 0.0]]], np.float32)
    return {"boxes": boxes, "scores": scores}


def test_every_class_above_the_threshold_or_the_best_one() -> None:
    (found,) = decode(outputs(), [META], spec())
    assert found.labels.tolist() == [0, 2, 1]
    assert found.scores.tolist() == pytest.approx([0.9, 0.8, 0.7])
    assert found.boxes.tolist() == [[10, 10, 50, 50], [10, 10, 50, 50], [120, 20, 200, 90]]
    (best,) = decode(outputs(), [META], spec(best_class=True))
    assert best.labels.tolist() == [0, 1]
    (agnostic,) = decode(outputs(), [META], spec(agnostic=True))
    assert agnostic.labels.tolist() == [0, 1]
    (none,) = decode(outputs(), [META], spec(conf=0.95))
    assert len(none) == 0


def test_boxes_are_clipped_before_nms_if_the_model_does_so() -> None:
    """Two boxes that differ outside of the image only, and one that lies outside of it."""
    given = {
        "boxes": np.array([[[160, 10, 210, 50], [160, 10, 420, 50], [210, 10, 300, 50]]], np.float32),
        "scores": np.array([[[0.9, 0, 0], [0.8, 0, 0], [0.7, 0, 0]]], np.float32),
    }
    assert len(decode(given, [META], spec())[0]) == 3
    (found,) = decode(given, [META], spec(clip=True))
    assert found.boxes.tolist() == [[160, 10, 200, 50]]


def test_outputs_are_found_by_shape_under_other_names() -> None:
    boxes, scores = outputs().values()
    (found,) = decode({"classes": scores, "bboxes": boxes}, [META], spec())
    assert found.labels.tolist() == [0, 2, 1]


def test_what_is_no_such_output() -> None:
    boxes, scores = outputs().values()
    with pytest.raises(ModelError, match=r"expects boxes \[B, N, 4\] and scores \[B, N, C\]"):
        decode({"boxes": boxes, "scores": scores[:, :1]}, [META], spec())
    with pytest.raises(ModelError, match="expects boxes and scores"):
        decode({"raw": boxes}, [META], spec())
    with pytest.raises(ModelError, match="has 2 classes, but the spec has 3 labels"):
        decode({"boxes": boxes, "scores": scores[..., :2]}, [META], spec())


@pytest.mark.parametrize("best", [False, True])
def test_its_layout_gives_nms_in_the_graph(best: bool) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the graph is run")
    from adaptrt.graph.nms import nms_alone
    from adaptrt.pipeline.graph_nms import plan_nms
    from adaptrt.request import NmsRequest

    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 60, (2, 60, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(10, 30, (2, 60, 2))], 2).astype(np.float32)
    given = {"boxes": boxes, "scores": rng.random((2, 60, 3)).astype(np.float32)}
    wanted = spec(best_class=best, conf=0.4, iou=0.4)
    layout, plan = plan_nms(NmsRequest(), wanted)
    assert layout.multi_label is not best
    model = nms_alone([(name, ["batch", *array.shape[1:]]) for name, array in given.items()], layout, plan)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = dict(zip([one.name for one in session.get_outputs()], session.run(None, given), strict=True))
    assert found["nms_converged"].all()
    for row, expected in enumerate(decode(given, [META] * 2, wanted)):
        count = int(found["num_dets"][row, 0])
        assert count == len(expected) > 10
        assert np.array_equal(found["det_scores"][row, :count], expected.scores)
        assert np.array_equal(found["det_classes"][row, :count], expected.labels)


def test_it_needs_no_adapter() -> None:
    assert find_decoder("box_scores").predicts == "detect"
