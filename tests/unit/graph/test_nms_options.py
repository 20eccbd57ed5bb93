"""What a decoder does before and in NMS, NMS in the graph does too, or it is refused: every parameter of every decoder."""

from __future__ import annotations

from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from adaptrt import DecoderSpec, ImageMeta, ImageTransform, InputSpec, ModelSpec, NmsRequest, OutputSpec, UsageError
from adaptrt.graph.nms import nms_alone
from adaptrt.pipeline.describe_nms import CLIPPED_TO_INPUT
from adaptrt.pipeline.graph_nms import GraphNms, plan_nms, require_nms
from adaptrt.pipeline.nms_detections import image_of_size
from adaptrt.pipeline.verification.samples import Sample
from adaptrt.request import Request
from adaptrt.specs.decoders import decoder_names, find_decoder
from adaptrt.vision.decoders.candidates import FromCandidates
from adaptrt.vision.decoders.decode import decode

SIZE = (96, 128)
BOXES, CLASSES = 160, 3
EXTRAS = {"yolo_segment": 4, "yolo_pose": 6, "yolo_obb": 1}
FIXED = {"yolo_pose": {"keypoints": [3, 2]}}
SELECTS: dict[str, dict[str, Any]] = {
    "conf": {"conf": 0.6},
    "iou": {"iou": 0.2},
    "max_det": {"max_det": 3},
    "agnostic": {"agnostic": True},
    "classes": {"classes": [1]},
    "rows": {"rows": "anchor"},
    "best_class": {"best_class": True},
    "clip": {"clip": True},
    "padded": {"clip": True, "padded": True},
    "clipped": {"clip": True, "clipped": True},
    "min_size": {"min_size": 0.0},
}
"""A value of each parameter that decides which boxes are kept."""
AFTER = {"enlarge", "keypoints", "skeleton"}
"""Parameters that do not."""


def decoders(*, supported: bool) -> list[str]:
    found = []
    for name in decoder_names():
        decode = find_decoder(name).decode
        if (isinstance(decode, FromCandidates) and decode.layout is not None) is supported:
            found.append(name)
    return found


def spec_and_outputs(name: str, **params: Any) -> tuple[ModelSpec, dict[str, np.ndarray]]:
    """Outputs of two images, with overlapping boxes of which some extend beyond the image, and some lie outside of it."""
    rng = np.random.default_rng(3)
    low, high = -0.2 * np.array(SIZE[::-1]), 1.2 * np.array(SIZE[::-1])
    center = rng.uniform(low, high, (2, 12, 2))[:, rng.integers(0, 12, BOXES)] + rng.normal(0, 3, (2, BOXES, 2))
    size = rng.uniform(12, 40, (2, BOXES, 2))
    scores = rng.random((2, BOXES, CLASSES)) ** 2
    if name == "box_scores":
        size[:, ::7] = 0
        corners = np.concatenate([center - size / 2, center + size / 2], 2)
        outputs = {"boxes": corners.astype(np.float32), "scores": scores.astype(np.float32)}
    else:
        anchor = name == "yolo_anchor" or params.get("rows") == "anchor"
        objectness = [rng.uniform(0.7, 1, (2, BOXES, 1))] if anchor else []
        rest = rng.normal(0, 1, (2, BOXES, EXTRAS.get(name, 0)))
        rows = np.concatenate([center, size, *objectness, scores, rest], 2).astype(np.float32)
        outputs = {"output0": rows if anchor else rows.transpose(0, 2, 1).copy()}
    if name == "yolo_segment":
        outputs["output1"] = rng.normal(0, 1, (2, EXTRAS[name], 24, 32)).astype(np.float32)
    spec = ModelSpec(
        inputs=(InputSpec.image(*SIZE),),
        outputs=tuple(OutputSpec(key, ("batch", *array.shape[1:])) for key, array in outputs.items()),
        task=find_decoder(name).predicts,
        image=ImageTransform(),
        decoder=DecoderSpec(name, {**FIXED.get(name, {}), **params}),
        labels=("a", "b", "c"),
    )
    return spec, outputs


def in_graph(spec: ModelSpec, outputs: dict[str, np.ndarray], request: NmsRequest) -> list[Any]:
    """The predictions of a graph that ends in NMS."""
    layout, plan = plan_nms(request, spec)
    names = sorted({part.output for part in layout.parts})
    model = nms_alone([(name, ["batch", *outputs[name].shape[1:]]) for name in names], layout, plan)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    inputs = {name: outputs[name] for name in names}
    if plan.clip is not None:
        inputs[plan.clip.input] = image_of_size(plan.clip, SIZE)
    found = dict(zip([value.name for value in session.get_outputs()], session.run(None, inputs), strict=True))
    assert found["nms_converged"].all()
    found |= {name: outputs[name] for name in layout.kept}
    ended = GraphNms(job=None, raw=spec).spec_of(layout, plan)  # type: ignore[arg-type]
    return list(decode(found, [ImageMeta(SIZE, SIZE)] * 2, ended))


def after(spec: ModelSpec, outputs: dict[str, np.ndarray]) -> list[Any]:
    """The predictions of the decoder, with NMS in numpy."""
    return list(decode(outputs, [ImageMeta(SIZE, SIZE)] * 2, spec))


def numbers(found: list[Any]) -> list[tuple[list[Any], ...]]:
    return [(one.boxes.tolist(), one.scores.tolist(), one.labels.tolist()) for one in found]


CASES = [
    (name, field.name)
    for name in decoders(supported=True)
    for field in fields(find_decoder(name).params)
    if field.name not in AFTER
]


@pytest.mark.parametrize(("name", "param"), CASES)
@pytest.mark.parametrize("kind", ["cluster", "onnx"])
def test_every_parameter_that_selects_boxes_is_in_the_graph(name: str, param: str, kind: Any) -> None:
    """The same boxes as the decoder itself; and others than without the parameter, so that it has been tested."""
    assert param in SELECTS, f"{name} has a new parameter {param}: does NMS in the graph do the same?"
    if kind == "onnx" and name == "yolo_obb":
        pytest.skip("refused: NonMaxSuppression compares upright boxes")
    spec, outputs = spec_and_outputs(name, **SELECTS[param])
    plain, same = spec_and_outputs(name)
    expected = after(spec, outputs)
    assert numbers(in_graph(spec, outputs, NmsRequest(kind, rounds=40))) == numbers(expected)
    assert min(map(len, expected)) >= 3
    assert numbers(expected) != numbers(after(plain, same))


@pytest.mark.parametrize("name", decoders(supported=False))
def test_other_decoders_are_refused(name: str) -> None:
    """Also those that select candidates per level, by a quality score, or not by NMS at all."""
    spec = ModelSpec((InputSpec.image(*SIZE),), (OutputSpec("output0"),), decoder=DecoderSpec(name))
    if name in ("efficient_nms", "box_masks", "nms_segment", "nms_pose", "nms_obb"):
        pytest.skip("written by --nms, or by a network that ends in it")
    with pytest.raises(UsageError, match=r"^--nms: .*(is not supported in a graph|selects without NMS)"):
        require_nms(Request("net", "torch", nms=NmsRequest()), spec)


def test_a_size_limit_in_pixels_of_the_original_image_is_refused() -> None:
    spec, _ = spec_and_outputs("box_scores", min_size=4.0)
    with pytest.raises(UsageError, match=r"drops boxes whose sides are not above 4\.0 pixels of the original image"):
        require_nms(Request("net", "torch", nms=NmsRequest()), spec)
    spec, _ = spec_and_outputs("box_scores", min_size=0.0)
    require_nms(Request("net", "torch", nms=NmsRequest()), spec)


def test_a_size_limit_is_in_pixels_of_the_original_image() -> None:
    """Of an image that was halved, a box of 6 pixels in the input has 12."""
    spec, _ = spec_and_outputs("box_scores", min_size=10.0)
    boxes = np.array([[[10, 10, 16, 16], [30, 10, 34, 30], [50, 10, 50, 30]]], np.float32)
    outputs = {"boxes": boxes, "scores": np.full((1, 3, 3), 0.5, np.float32)}
    meta = ImageMeta((2 * SIZE[0], 2 * SIZE[1]), SIZE, scale=(0.5, 0.5))
    for more in ({}, {"clip": True}, {"clip": True, "padded": True}):
        (found,) = decode(outputs, [meta], spec.with_decoder_params(best_class=True, **more))
        assert found.boxes.tolist() == [[20, 20, 32, 32]]
    (every,) = decode(outputs, [meta], spec.with_decoder_params(best_class=True, min_size=-1.0, clip=True))
    assert len(every) == 3


def test_the_plugin_gets_clipped_boxes_and_no_score_of_a_box_without_area() -> None:
    spec, outputs = spec_and_outputs("box_scores", clip=True)
    layout, plan = plan_nms(NmsRequest("efficient"), spec)
    model = nms_alone([(name, ["batch", *array.shape[1:]]) for name, array in outputs.items()], layout, plan)
    (plugin,) = (node for node in model.graph.node if node.op_type == "EfficientNMS_TRT")
    model.graph.node.remove(plugin)
    del model.graph.output[:]
    for name in plugin.input:
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert plan.clip is not None
    boxes, scores = session.run(None, {**outputs, plan.clip.input: image_of_size(plan.clip, SIZE)})
    limits = np.array([SIZE[1], SIZE[0]] * 2, np.float32)
    np.testing.assert_array_equal(boxes, np.clip(outputs["boxes"], 0, limits))
    empty = (boxes[..., 2] <= boxes[..., 0]) | (boxes[..., 3] <= boxes[..., 1])
    assert 20 < empty.sum() < 200
    assert not scores[empty].any()
    np.testing.assert_array_equal(scores[~empty], outputs["scores"][~empty])


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize("wrong", [{}, {"clip": None}, {"drop_empty": False}])
def test_link_2_compares_with_the_decoders_own_selection(symbolic: bool, wrong: dict[str, Any]) -> None:
    """A graph that does not clip, or keeps empty boxes, fails, also if the sample itself has no such box."""
    spec, outputs = spec_and_outputs("box_scores", clip=True, padded=True)
    inside = outputs["boxes"].clip(20, 60) + np.array([0, 0, 5, 5], np.float32)
    sample = Sample({"images": np.zeros((2, 3, *SIZE), np.float32)}, {**outputs, "boxes": inside})
    if symbolic:
        spec = replace(spec, outputs=tuple(replace(one, dims=("batch", "n", one.dims[2])) for one in spec.outputs))
    layout, plan = plan_nms(NmsRequest(rounds=60), spec)
    stage = GraphNms(job=SimpleNamespace(samples=[sample], warn=pytest.fail), raw=spec)  # type: ignore[arg-type]
    expected = [stage.select(sample.reference, plan, layout, SIZE)]
    (check,), _ = stage.compare(expected, replace(plan, **wrong), layout)
    assert check.passed is not bool(wrong)
    assert check.samples >= 6


def test_only_padding_that_the_graph_does_not_know_is_a_warning() -> None:
    """The three ways to clip: to the input, by the network itself to the image, and by the decoder alone to the image."""
    found, recorded = {}, {}
    for changes in ({"padded": True}, {"clipped": True}, {}):
        spec, _ = spec_and_outputs("box_scores", clip=True, **changes)
        layout, plan = plan_nms(NmsRequest(), spec)
        found[tuple(changes)] = layout.clip
        for resize in ("letterbox", "stretch"):
            fitted = replace(spec, image=ImageTransform(resize=resize))
            ended = GraphNms(job=None, raw=fitted).spec_of(layout, plan)  # type: ignore[arg-type]
            assert ended.decoder is not None
            recorded[(*changes, resize)] = ended.decoder.params.get("clipped_to", "image")
    assert found == {("padded",): "input", ("clipped",): "input", (): "image"}
    assert {key for key, value in recorded.items() if value == "input"} == {("letterbox",)}, "predict warns of padding"
    assert "Use images that fill the input, or omit --nms." in CLIPPED_TO_INPUT
