"""The trained fixture through whole conversions, compared with mmdet's own inference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from narrow_detr import CONFIG, FIXTURE

import adaptrt
from adaptrt import Report, UsageError

for module in ("onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(module, reason=f"a conversion needs {module}")

SHAPE_ARITHMETIC = ("Shape", "Gather", "Expand", "ScatterND")


@pytest.fixture(scope="module")
def fixed(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("fixed")
    return adaptrt.convert(
        FIXTURE, adapter="detr", output=folder / "out.onnx", image=shapes / "images" / "000000.png", html=False
    )


def statuses(report: Report) -> dict[int, str]:
    return {link.number: link.status for link in report.links if link.number in (0, 1, 2, 5)}


def test_every_link_holds(fixed: Report) -> None:
    assert statuses(fixed) == dict.fromkeys((0, 1, 2, 5), "passed")
    assert fixed.images[0].predictions["framework"].data["scores"], "mmdet finds something"
    assert fixed.spec is not None
    assert fixed.spec.labels == ("circle", "square", "triangle", "star")
    assert [output.name for output in fixed.spec.outputs] == ["scores", "labels", "boxes"]
    assert [output.dtype for output in fixed.spec.outputs] == ["float32", "int32", "float32"]
    assert fixed.spec.inputs[0].dims[0].dynamic
    assert "without keeping their aspect ratio" in fixed.notes[0]


def test_the_graph_has_no_shape_arithmetic(fixed: Report) -> None:
    final = fixed.operators["final"]
    assert not {name: final[name] for name in SHAPE_ARITHMETIC if name in final}


@pytest.mark.full
@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_all_layers_of_a_detr_r50_take_at_most_620_nodes(exporter: str, tmp_path: Path) -> None:
    """Decoding included; an eighth of the channels, which changes no node."""
    narrow = {"cfg.model.backbone.base_channels": "8", "cfg.model.neck.in_channels": "[256]"}
    report = adaptrt.convert(
        "detr_r50_8xb2-150e_coco",
        adapter="detr",
        output=tmp_path,
        imgsz="64x96",
        exporter=exporter,
        options=narrow,
        verify="none",
        html=False,
    )
    final = report.operators["final"]
    assert final["Conv"] == 54  # 53 of a ResNet-50 and the neck's
    assert sum(final.values()) <= 620
    assert not {name: final[name] for name in SHAPE_ARITHMETIC if name in final}


def test_batch_invariance(fixed: Report) -> None:
    checks = {check.title: check for check in fixed.link(2).checks}
    assert "batches 2, 3, 4, 8" in fixed.link(2).reason
    assert all(checks[f"{name} in a batch"].passed for name in ("scores", "labels", "boxes"))


def test_predictions_are_mmdets(fixed: Report, shapes: Path, tmp_path: Path) -> None:
    """Every image, by the file alone, against mmdet's predict with the same resizing."""
    from adaptrt import Conversion, Request
    from adaptrt.tasks.detect.agreement import matched_boxes
    from adaptrt_mmdet.framework import predict
    from adaptrt_mmdet.options import DetrOptions
    from adaptrt_mmdet.sources import open_source

    paths = sorted((shapes / "images").glob("*.png"))
    source = open_source(Conversion(Request(str(FIXTURE), "detr"), DetrOptions(), tmp_path))
    theirs = [
        adaptrt.Detections(*(part[found.scores > 0.25] for part in (found.boxes, found.scores, found.labels)))
        for found in predict(source, paths, (256, 256), stretch=True)
    ]
    assert fixed.onnx is not None
    with adaptrt.load(fixed.onnx) as model:
        ours = model(paths)
    assert matched_boxes(0.99, 1e-3).compute(theirs, ours) == 1.0
    assert sum(map(len, theirs)) > 10


@pytest.mark.full
def test_padding_is_masked_on_request(shapes: Path, tmp_path: Path) -> None:
    report = adaptrt.convert(
        CONFIG,
        adapter="detr",
        weights=FIXTURE,
        output=tmp_path / "masked.onnx",
        image=shapes / "images" / "000001.png",
        options={"padding": "mask"},
        verify="quick",
        html=False,
    )
    assert statuses(report) == dict.fromkeys((0, 1, 2, 5), "passed")
    assert report.spec is not None
    assert [tensor.name for tensor in report.spec.inputs] == ["images", "masks"]
    assert "Shape" not in report.operators["final"]
    with adaptrt.load(tmp_path / "masked.onnx") as model:
        wide = np.full((60, 200, 3), 128, np.uint8)
        together = model([wide, wide.transpose(1, 0, 2), shapes / "images" / "000001.png"])
        alone = model([shapes / "images" / "000001.png"])[0]
    assert np.allclose(together[2].boxes, alone.boxes, atol=0.05)  # type: ignore[union-attr]
    assert len(alone)  # type: ignore[arg-type]


@pytest.mark.parametrize("padding", ["letterbox", "true"])
def test_padding_without_a_mask_is_refused(padding: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="padding must be .none. or .mask."):
        adaptrt.convert(FIXTURE, adapter="detr", output=tmp_path / "o.onnx", options={"padding": padding}, html=False)


@pytest.mark.full
def test_height_and_width_may_be_dynamic(shapes: Path, tmp_path: Path) -> None:
    report = adaptrt.convert(
        FIXTURE,
        adapter="detr",
        output=tmp_path / "dynamic.onnx",
        image=shapes / "images" / "000002.png",
        shape="images=1..3@2x3x128..320@256x128..384@256",
        html=False,
    )
    assert statuses(report) == dict.fromkeys((0, 1, 2, 5), "passed")


@pytest.mark.full
def test_dynamic_sizes_with_padding_masked(shapes: Path, tmp_path: Path) -> None:
    """The mask has the image's own axes: what is asked of the image holds for both."""
    report = adaptrt.convert(
        FIXTURE,
        adapter="detr",
        output=tmp_path / "masked.onnx",
        image=shapes / "images" / "000002.png",
        options={"padding": "mask"},
        dynamic="batch,hw",
        html=False,
    )
    assert statuses(report) == dict.fromkeys((0, 1, 2, 5), "passed")
    assert report.spec is not None
    images, masks = (tensor.profiles[0] for tensor in report.spec.inputs)
    assert masks == (images[0], *images[2:])
    assert (masks[1].min, masks[1].opt, masks[1].max) == (128, 256, 512)


@pytest.mark.full
@pytest.mark.parametrize("dynamic", ["batch", "batch,hw"])
def test_raw_outputs(dynamic: str, tmp_path: Path) -> None:
    report = adaptrt.convert(
        FIXTURE,
        adapter="detr",
        output=tmp_path / "raw.onnx",
        options={"raw": "true"},
        dynamic=dynamic,
        verify="quick",
        html=False,
    )
    assert report.spec is not None
    assert [output.name for output in report.spec.outputs] == ["logits", "boxes"]
    assert report.spec.outputs[0].dims == ("batch", 24, 5)
    with adaptrt.load(tmp_path / "raw.onnx") as model:
        found: Any = model(np.zeros((50, 40, 3), np.uint8))[0]
    assert found.arrays["boxes"].min() >= 0
    assert found.arrays["boxes"].max() <= 1


def test_nms_filters_afterwards(fixed: Report, shapes: Path, tmp_path: Path) -> None:
    paths = sorted((shapes / "images").glob("*.png"))
    assert fixed.onnx is not None
    with adaptrt.load(fixed.onnx) as model:
        everything = sum(map(len, model(paths, conf=0.0)))  # type: ignore[arg-type]
        assert everything == 24 * len(paths)
        assert sum(map(len, model(paths, conf=0.0, iou=0.5))) < everything  # type: ignore[arg-type]


@pytest.mark.full
def test_the_other_exporter_writes_the_same_kind_of_graph(shapes: Path, tmp_path: Path) -> None:
    report = adaptrt.convert(
        FIXTURE,
        adapter="detr",
        output=tmp_path / "dynamo.onnx",
        exporter="dynamo",
        image=shapes / "images" / "000000.png",
        html=False,
    )
    assert statuses(report) == dict.fromkeys((0, 1, 2, 5), "passed")
    final = report.operators["final"]
    assert not {name: final[name] for name in SHAPE_ARITHMETIC if name in final}


def test_the_fixture_knows_its_shapes(fixed: Report, shapes: Path) -> None:
    pytest.importorskip("faster_coco_eval", reason="needs faster-coco-eval")
    from adaptrt.evaluation import evaluate

    assert fixed.onnx is not None
    found = evaluate([fixed.onnx], shapes)
    assert found.results[0].scores["mAP50"] >= 0.5
