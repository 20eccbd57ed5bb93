"""Conversions that end in NMS, of a small detector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import adaptrt
from adaptrt import Detections, Report, UsageError
from adaptrt.request import NmsRequest

pytestmark = pytest.mark.usefixtures("tiny")


def convert(net: str = "detector", **options: Any) -> Report:
    return adaptrt.convert(net, adapter="tiny", html=False, **{"nms": True, "to": "onnx", **options})


def test_predictions_are_those_of_the_file_without(image: Path) -> None:
    raw = convert(nms=False, output="raw.onnx", image=image, options={"conf": 0.05})
    ended = convert(output="nms.onnx", image=image, options={"conf": 0.05})
    assert [link.status for link in ended.links] == ["passed", "passed", "passed", "not run", "not run", "passed"]
    names = [check.name for check in ended.link(2).checks]
    assert "in-graph NMS identical to NumPy NMS" in names
    assert any(name.startswith("matched boxes") for name in names)
    assert "chains of up to 21 boxes" in " ".join(ended.notes)
    assert not {"NonMaxSuppression", "NonZero", "Loop", "If", "Shape"} & set(ended.operators["final"])
    for expected, actual in zip(
        adaptrt.load(raw.onnx)([image, image]),
        adaptrt.load(ended.onnx)([image, image]),
        strict=True,  # type: ignore[arg-type]
    ):
        assert isinstance(actual, Detections)
        assert len(actual) > 3
        np.testing.assert_array_equal(actual.labels, expected.labels)
        np.testing.assert_allclose(actual.boxes, expected.boxes, atol=1e-3)
        np.testing.assert_allclose(actual.scores, expected.scores, atol=1e-5)


@pytest.mark.full
def test_a_higher_confidence_but_no_other_iou(image: Path) -> None:
    ended = convert(verify="none", options={"conf": 0.05})
    with adaptrt.load(ended.onnx) as model:  # type: ignore[arg-type]
        (everything,), (confident,) = model(image), model(image, conf=0.6)
        assert 0 < len(confident) < len(everything)
        assert confident.scores.tolist() == [score for score in everything.scores.tolist() if score > 0.6]
        with pytest.raises(UsageError, match="NMS is in the graph"):
            model(image, iou=0.3)


@pytest.mark.full
def test_what_did_not_converge_is_reported(image: Path) -> None:
    report = convert(nms=NmsRequest(rounds=1), options={"conf": 0.0, "iou": 0.01})
    assert any("did not converge" in warning for warning in report.warnings)
    with adaptrt.load(report.onnx) as model:  # type: ignore[arg-type]
        model([image, image])
        assert len(model.last_warnings) == 1
        assert "image 1, 2 of the batch" in model.last_warnings[0]
        assert "--nms-rounds" in model.last_warnings[0]


@pytest.mark.full
def test_the_schema_of_efficient_nms() -> None:
    report = convert(nms=NmsRequest(schema="efficient"), verify="none")
    assert report.spec is not None
    assert [output.name for output in report.spec.outputs] == ["num_dets", "det_boxes", "det_scores", "det_classes"]
    assert [output.dims for output in report.spec.outputs] == [
        ("batch", 1),
        ("batch", 64, 4),
        ("batch", 64),
        ("batch", 64),
    ]
    assert "do not show whether" in " ".join(report.notes)


@pytest.mark.full
def test_dynamic_size_and_half_precision(image: Path) -> None:
    report = convert(
        dynamic="batch,hw", precision="fp16", target=10, options={"conf": 0.05, "patched": False}, image=image
    )
    assert report.link(5).status == "passed"
    assert "reduced" in report.files
    import onnx

    graph = onnx.load(report.files["reduced"].path).graph
    values = {value.name: value.type.tensor_type.elem_type for value in graph.output}
    assert values["det_boxes"] == onnx.TensorProto.FLOAT
    assert not any(node.op_type == "Cast" and "fp16" in node.name for node in graph.node if "adaptrt_nms" in node.name)


@pytest.mark.full
def test_the_operator_of_onnx(image: Path) -> None:
    report = convert(nms="onnx", image=image, options={"conf": 0.05})
    assert report.operators["final"]["NonMaxSuppression"] == 1
    assert report.link(5).status == "passed"


@pytest.mark.full
def test_the_plugin(image: Path) -> None:
    report = convert(nms="efficient", target=8, image=image)
    assert report.operators["final"]["TRT.EfficientNMS_TRT"] == 1
    assert report.link(2).status == "passed"
    assert report.link(5).reason == "ONNX Runtime does not support the plugin EfficientNMS_TRT"
    assert report.verdict is not None
    assert report.verdict.word == "partly verified"


@pytest.mark.parametrize(
    ("net", "options", "message"),
    [
        ("classifier", {}, "'classify' is not supported in a graph"),
        ("detector", {"options": {"iou": None}}, "selects without NMS"),
        (
            "detector",
            {"nms": "efficient", "target": 11},
            "TensorRT 11 does not include the plugin",
        ),
        ("detector", {"nms": "onnx", "target": "rtx"}, "no kernel"),
        ("detector", {"nms": "soft"}, "Unknown NMS kind"),
    ],
)
def test_what_is_refused(net: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        convert(net, **options)


@pytest.mark.full
def test_several_classes_of_a_box(image: Path) -> None:
    report = convert(nms=NmsRequest(multi_label=True), image=image)
    assert next(check for check in report.link(2).checks if "identical" in check.name).value == 1.0
    assert "a single class per box" in report.link(5).reason
