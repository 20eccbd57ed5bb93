"""NMS inside the graph against torchvision's, and against NMS in numpy, on the same best candidates."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptrt.graph.nms import nms_alone
from adaptrt.graph.nms_plan import NmsPlan
from adaptrt.specs.layouts import BoxLayout, Part
from adaptrt.vision.nms import largest_float32_up_to

torchvision = pytest.importorskip("torchvision", reason="NMS is compared with torchvision's")
CORNERS = BoxLayout(Part("boxes"), Part("scores"))
YOLO = BoxLayout(Part("raw", 0, 4, channels_first=True), Part("raw", 4, channels_first=True), centers=True)
ANCHOR = BoxLayout(Part("raw", 0, 4), Part("raw", 5), objectness=Part("raw", 4, 5), centers=True)


def plan(**changes: Any) -> NmsPlan:
    given: dict[str, Any] = {
        "conf": 0.25, "iou": 0.5, "max_det": 30, "candidates": 64, "rounds": 20, "agnostic": False,
        "multi_label": False, "class_offset": None, **changes,
    }  # fmt: skip
    return NmsPlan(**{**given, "iou": float(largest_float32_up_to(given["iou"]))})


def run(inputs: dict[str, np.ndarray], layout: BoxLayout, wanted: NmsPlan, *, symbolic: bool = False) -> dict[str, Any]:
    shapes = [
        (name, ["batch", *("n" if symbolic and size > 10 else size for size in array.shape[1:])])
        for name, array in inputs.items()
    ]
    model = nms_alone(shapes, layout, wanted)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


def crowd(seed: int, *, count: int = 100, classes: int = 3, batch: int = 2, ties: bool = True) -> dict[str, np.ndarray]:
    """Overlapping boxes around few centers; scores in steps of 1/32, so that many are equal."""
    rng = np.random.default_rng(seed)
    centers = rng.uniform(20, 140, (batch, 1, 6, 2))[:, 0, rng.integers(0, 6, count)] + rng.normal(
        0, 6, (batch, count, 2)
    )
    sizes = rng.uniform(10, 40, (batch, count, 2))
    scores = rng.random((batch, count, classes)) ** 2
    scores = np.round(scores * 32) / 32 if ties else scores
    boxes = np.concatenate([centers - sizes / 2, centers + sizes / 2], 2)
    return {"boxes": boxes.astype(np.float32), "scores": scores.astype(np.float32)}


def torchvision_result(boxes: np.ndarray, scores: np.ndarray, wanted: NmsPlan, iou: float) -> list[np.ndarray]:
    """``batched_nms`` on the best candidates, the lower index first among equals: boxes, scores, labels."""
    if wanted.multi_label:
        flat = scores.reshape(-1)
        index = np.arange(len(flat))
        box, labels = index // scores.shape[1], index % scores.shape[1]
    else:
        labels, flat, box = scores.argmax(1), scores.max(1), np.arange(len(scores))
    order = np.argsort(-flat, kind="stable")[: wanted.candidates]
    order = order[flat[order] > wanted.conf]
    found, values, classes = (torch.from_numpy(part[order]) for part in (boxes[box], flat, labels))
    if wanted.agnostic:
        kept = torchvision.ops.nms(found, values, iou)
    elif wanted.class_offset is None:
        kept = torchvision.ops.batched_nms(found, values, classes, iou)
    else:
        kept = torchvision.ops.nms(found + classes[:, None].float() * wanted.class_offset, values, iou)
    kept = kept[: wanted.max_det]
    return [part[kept].numpy() for part in (found, values, classes)]


def require_same(inputs: dict[str, np.ndarray], actual: dict[str, Any], wanted: NmsPlan, iou: float = 0.5) -> int:
    """Identical wherever it converged; how many did."""
    converged = 0
    for place, (boxes, scores) in enumerate(zip(inputs["boxes"], inputs["scores"], strict=True)):
        if "nms_converged" in actual and not actual["nms_converged"][place, 0]:
            continue
        converged += 1
        expected = torchvision_result(boxes, scores, wanted, iou)
        count = int(actual["num_dets"][place, 0])
        assert count == len(expected[1])
        for name, value in zip(("det_boxes", "det_scores", "det_classes"), expected, strict=True):
            np.testing.assert_array_equal(actual[name][place, :count], value)
            assert not actual[name][place, count:].any()
    return converged


@pytest.mark.parametrize("kind", ["cluster", "onnx"])
@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize(("agnostic", "offset"), [(True, None), (False, None), (False, 7680.0)])
def test_it_is_torchvisions(kind: Any, multi_label: bool, agnostic: bool, offset: float | None) -> None:
    wanted = plan(kind=kind, multi_label=multi_label, agnostic=agnostic, class_offset=offset)
    inputs = crowd(1, batch=4)
    actual = run(inputs, CORNERS, wanted)
    assert require_same(inputs, actual, wanted) == 4
    assert actual["num_dets"].min() > 5


@given(seed=st.integers(0, 2**32 - 1), rounds=st.integers(1, 30), iou=st.sampled_from([0.1, 0.3, 0.5, 0.7]))
@settings(max_examples=25, deadline=None)
def test_crowds(seed: int, rounds: int, iou: float) -> None:
    wanted = plan(rounds=rounds, iou=iou, agnostic=bool(seed % 2))
    inputs = crowd(seed, ties=bool(seed % 3))
    require_same(inputs, run(inputs, CORNERS, wanted), wanted, iou)


def chain(length: int) -> dict[str, np.ndarray]:
    """Each box overlaps only its neighbors by more than a half, with falling scores."""
    left = np.arange(length, dtype=np.float32) * 10
    boxes = np.stack([left, 0 * left, left + 40, 0 * left + 40], 1)
    return {"boxes": boxes[None], "scores": np.linspace(0.9, 0.5, length, dtype=np.float32)[None, :, None]}


def test_a_chain_longer_than_the_rounds_is_reported() -> None:
    # IoU of neighbors is 0.6, of the next but one 1/3
    for rounds, converged in ((31, 1), (30, 0), (5, 0)):
        wanted = plan(rounds=rounds, agnostic=True)
        inputs = chain(32)
        actual = run(inputs, CORNERS, wanted)
        assert actual["nms_converged"].tolist() == [[converged]]
        same = int(actual["num_dets"][0, 0]) == 16
        assert same == bool(converged)
        require_same(inputs, actual, wanted)


def test_layouts_of_yolo_networks() -> None:
    inputs = crowd(7)
    boxes, scores = inputs["boxes"], inputs["scores"]
    raw = np.concatenate([(boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]], 2)
    half = raw[..., 2:] / 2
    inputs["boxes"] = np.concatenate([raw[..., :2] - half, raw[..., :2] + half], 2)  # as they come back
    dense = {"raw": np.concatenate([raw, scores], 2).transpose(0, 2, 1).copy()}
    require_same(inputs, run(dense, YOLO, plan()), plan())
    factor = np.full((*scores.shape[:2], 1), 0.5, np.float32)
    anchor = {"raw": np.concatenate([raw, factor, scores], 2)}
    require_same({**inputs, "scores": scores * factor}, run(anchor, ANCHOR, plan(conf=0.1)), plan(conf=0.1))


@pytest.mark.parametrize("multi_label", [False, True])
def test_fewer_boxes_than_candidates_in_a_graph_of_dynamic_size(multi_label: bool) -> None:
    wanted = plan(multi_label=multi_label, max_det=400, candidates=400)
    inputs = crowd(3, count=20)
    actual = run(inputs, CORNERS, wanted, symbolic=True)
    assert actual["det_scores"].shape == (2, 400)
    assert require_same(inputs, actual, wanted) == 2


def test_only_some_classes() -> None:
    inputs = crowd(4)
    for multi_label in (False, True):
        actual = run(inputs, CORNERS, plan(classes=(0, 2), multi_label=multi_label))
        assert set(np.unique(actual["det_classes"])) <= {0, 2}
        everything = run(inputs, CORNERS, plan(multi_label=multi_label))
        assert 1 in everything["det_classes"]


def test_nan_and_nothing() -> None:
    inputs = crowd(5)
    inputs["scores"][0] = np.nan
    inputs["scores"][1] = 0
    for kind in ("cluster", "onnx"):
        actual = run(inputs, CORNERS, plan(kind=kind))
        assert actual["num_dets"].tolist() == [[0], [0]]
        assert not any(actual[name].any() for name in ("det_boxes", "det_scores", "det_classes"))
        assert actual["nms_converged"].tolist() == [[1], [1]]


def test_no_operator_with_data_dependent_shapes() -> None:
    shapes = [("boxes", ["batch", 100, 4]), ("scores", ["batch", 100, 3])]
    used = {node.op_type for node in nms_alone(shapes, CORNERS, plan()).graph.node}
    assert not used & {"NonMaxSuppression", "NonZero", "Loop", "If", "Shape", "ScatterND", "Range"}
    without = nms_alone(shapes, CORNERS, plan(converged=False))
    assert [value.name for value in without.graph.output] == ["num_dets", "det_boxes", "det_scores", "det_classes"]
