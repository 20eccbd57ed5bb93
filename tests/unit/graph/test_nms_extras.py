"""Masks, keypoints and rotated boxes go through NMS in the graph: the same predictions as NMS in numpy after the network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from adaptrt import DecoderSpec, InputSpec, ModelSpec, NmsRequest, OutputSpec, UsageError
from adaptrt.graph.nms import nms_alone
from adaptrt.pipeline.graph_nms import GraphNms, plan_nms, require_nms
from adaptrt.pipeline.nms_detections import is_between
from adaptrt.predictions import ImageMeta
from adaptrt.request import Request
from adaptrt.vision.decoders.candidates import Candidates
from adaptrt.vision.decoders.decode import decode

BOXES, CLASSES, SIZE = 120, 2, 64
LABELS = ("circle", "square")
CASES: dict[str, tuple[str, int, dict[str, Any]]] = {
    "segment": ("yolo_segment", 4, {}),
    "classic segment": ("yolo_segment", 4, {"rows": "anchor", "enlarge": "probabilities"}),
    "pose": ("yolo_pose", 6, {"keypoints": [3, 2], "skeleton": [[0, 1], [1, 2]]}),
    "pose with visibility": ("yolo_pose", 6, {"keypoints": [2, 3]}),
    "obb": ("yolo_obb", 1, {}),
    "obb, agnostic": ("yolo_obb", 1, {"agnostic": True, "iou": 0.5}),
}


def crowd(name: str, seed: int = 0) -> tuple[ModelSpec, dict[str, np.ndarray]]:
    """A spec, and outputs of two images with overlapping boxes."""
    decoder, extras, params = CASES[name]
    rng = np.random.default_rng(seed)
    center = rng.uniform(10, 54, (2, 8, 2))[:, rng.integers(0, 8, BOXES)] + rng.normal(0, 2, (2, BOXES, 2))
    size = rng.uniform(12, 20, (2, BOXES, 2))
    objectness = [np.ones((2, BOXES, 1))] if params.get("rows") == "anchor" else []
    rest = rng.normal(0, 1, (2, BOXES, extras)) * (20 if decoder == "yolo_pose" else 1)
    parts = [center, size, *objectness, rng.random((2, BOXES, CLASSES)), rest]
    rows = np.concatenate(parts, 2).astype(np.float32)
    anchor = bool(objectness)
    outputs = {"output0": rows if anchor else rows.transpose(0, 2, 1).copy()}
    if decoder == "yolo_segment":
        outputs["output1"] = rng.normal(0, 1, (2, extras, 16, 16)).astype(np.float32)
    spec = ModelSpec(
        inputs=(InputSpec.image(SIZE, SIZE),),
        outputs=tuple(OutputSpec(name, ("batch", *array.shape[1:])) for name, array in outputs.items()),
        task=decoder.removeprefix("yolo_"),
        decoder=DecoderSpec(decoder, params),
        labels=LABELS,
    )
    return spec, outputs


def run(spec: ModelSpec, outputs: dict[str, np.ndarray], request: NmsRequest) -> tuple[ModelSpec, dict[str, Any]]:
    """The spec of the graph that ends in NMS, and its outputs."""
    layout, plan = plan_nms(request, spec)
    ended = GraphNms(job=None, raw=spec).spec_of(layout, plan)  # type: ignore[arg-type]
    names = sorted({part.output for part in layout.parts})
    model = nms_alone([(name, ["batch", *outputs[name].shape[1:]]) for name in names], layout, plan)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(None, {name: outputs[name] for name in names})
    results = dict(zip([value.name for value in session.get_outputs()], found, strict=True))
    results |= {name: outputs[name] for name in layout.kept}
    assert [output.name for output in ended.outputs] == list(results)
    for output in ended.outputs:
        assert output.dims[1:] == results[output.name].shape[1:]
    return ended, results


@pytest.mark.parametrize("name", CASES)
def test_predictions_are_those_of_nms_after_the_network(name: str) -> None:
    spec, outputs = crowd(name)
    ended, results = run(spec, outputs, NmsRequest())
    assert ended.decoder is not None
    assert ended.decoder.name == f"nms_{spec.task}"
    assert results["nms_converged"].tolist() == [[1], [1]]
    metas = [ImageMeta((SIZE, SIZE), (SIZE, SIZE))] * 2
    for ours, theirs in zip(decode(results, metas, ended), decode(outputs, metas, spec), strict=True):
        assert type(ours) is type(theirs)
        assert 4 <= len(theirs) < BOXES - 20, "boxes are kept, and boxes are suppressed"
        for part in ("boxes", "scores", "labels", "keypoints", "rotated"):
            if hasattr(theirs, part):
                np.testing.assert_array_equal(getattr(ours, part), getattr(theirs, part))
        if spec.task == "pose":
            assert ours.skeleton == theirs.skeleton  # type: ignore[attr-defined]
        for mine, other in zip(getattr(ours, "masks", ()), getattr(theirs, "masks", ()), strict=True):
            np.testing.assert_array_equal(mine.bitmap, other.bitmap)


@pytest.mark.parametrize("name", ["segment", "obb"])
def test_several_classes_of_a_box(name: str) -> None:
    """With ``multi_label``, both classes of a box have its mask and angle."""
    spec, outputs = crowd(name)
    spec = replace(spec, decoder=DecoderSpec(spec.decoder.name, {"conf": 0.0, "iou": 1.0}))  # type: ignore[union-attr]
    _, results = run(spec, outputs, NmsRequest(multi_label=True))
    assert results["num_dets"].tolist() == [[2 * BOXES]] * 2
    own = results["det_coefficients"] if name == "segment" else results["det_boxes"]
    rows = outputs["output0"][0].T
    wanted = rows[:, 4 + CLASSES :] if name == "segment" else rows[:, [0, 1, 2, 3, 6]]
    for row in range(BOXES):
        assert (own[0] == wanted[row]).all(1).sum() == 2


def test_a_wrong_result_for_rotated_boxes_is_found() -> None:
    rotated = np.array([[10, 10, 4, 2, 0.1], [30, 30, 4, 2, 0.2], [50, 50, 4, 2, 0.3]], np.float32)
    found = Candidates(
        rotated[:, :4], np.array([0.9, 0.8, 0.7], np.float32), np.zeros(3, np.int64), {"rotated": rotated}
    )

    def outputs(rows: list[int]) -> dict[str, Any]:
        columns = {"det_boxes": rotated[rows], "det_scores": found.scores[rows], "det_classes": found.labels[rows]}
        return {"num_dets": np.array([[len(rows)]]), **{key: value[None] for key, value in columns.items()}}

    sure, possible = found.at(np.array([0, 1])), found
    assert is_between(outputs([0, 1]), 0, sure, possible, 5)
    assert is_between(outputs([0, 1, 2]), 0, sure, possible, 5)
    assert is_between(outputs([0]), 0, sure, possible, 1)
    assert not is_between(outputs([0]), 0, sure, possible, 5), "a sure one is missing"
    assert not is_between(outputs([1]), 0, sure, possible, 1), "a better one is missing"
    assert not is_between(outputs([1, 0]), 0, sure, possible, 5), "the order is wrong"
    assert not is_between(outputs([0, 1, 2]), 0, sure, sure, 5), "one is not possible"


@pytest.mark.parametrize(("name", "kind"), [("segment", "efficient"), ("obb", "efficient"), ("obb", "onnx")])
def test_kinds_that_lose_something_are_refused(name: str, kind: Any) -> None:
    spec, _ = crowd(name)
    with pytest.raises(UsageError, match=f"--nms {kind}"):
        require_nms(Request("net", "yolo", nms=NmsRequest(kind), target="8"), spec)
