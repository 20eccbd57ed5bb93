"""Whole conversions, each compared with mmdet's own predict: narrow detectors with random weights, and the trained fixtures.

``HEADS`` names the test of each head that the full suite converts whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from draw_shapes import draw_detection_image
from train_mask_rcnn import CONFIG, FIXTURE, HELD_OUT_SEED, LOOK

import adaptrt
from adaptrt import Conversion, NmsRequest, Request, ShapeRequest, UsageError
from adaptrt.pipeline.reference import Origin, load_reference

for module in ("onnx", "onnxruntime"):
    pytest.importorskip(module, reason=f"a conversion needs {module}")

FORBIDDEN = {"NonMaxSuppression", "NonZero", "Loop", "If"}
SIZE = (96, 128)
LEAST = 10  # objects in each image, on both sides


@dataclass(frozen=True)
class Family:
    """A configuration of mmdet's wheel, made narrow by ``changes``; ``options`` are those of the conversion, ``nms``: in the graph."""

    config: str
    changes: Mapping[str, str]
    options: Mapping[str, str]
    nms: bool = False


FAMILIES = {
    "yolox": Family(
        "yolox_tiny_8xb8-300e_coco",
        {
            "model.backbone.widen_factor": "0.125",
            "model.backbone.deepen_factor": "0.167",
            "model.neck.in_channels": "[32,64,128]",
            "model.neck.out_channels": "16",
            "model.bbox_head.in_channels": "16",
            "model.bbox_head.feat_channels": "16",
            "model.bbox_head.num_classes": "3",
        },
        {"max_det": "3000"},  # mmdet's keeps everything that passes its NMS
        nms=True,
    ),
    "retinanet": Family(
        "retinanet_r18_fpn_1x_coco",
        {
            "model.backbone.base_channels": "8",
            "model.neck.in_channels": "[8,16,32,64]",
            "model.neck.out_channels": "16",
            "model.bbox_head.in_channels": "16",
            "model.bbox_head.feat_channels": "16",
            "model.bbox_head.num_classes": "3",
        },
        {},
        nms=True,
    ),
    "rpn": Family(
        "rpn_r50_fpn_1x_coco",
        {
            "model.backbone.depth": "18",
            "model.backbone.base_channels": "8",
            "model.neck.in_channels": "[8,16,32,64]",
            "model.neck.out_channels": "16",
            "model.rpn_head.in_channels": "16",
            "model.rpn_head.feat_channels": "16",
            "model.test_cfg.rpn.nms_pre": "40",
            "model.test_cfg.rpn.max_per_img": "24",
        },
        {"nms_rounds": "40"},
    ),
    "cascade_rcnn": Family(
        "cascade-rcnn_r50_fpn_1x_coco",
        {
            "model.backbone.depth": "18",
            "model.backbone.base_channels": "8",
            "model.neck.in_channels": "[8,16,32,64]",
            "model.neck.out_channels": "16",
            "model.rpn_head.in_channels": "16",
            "model.rpn_head.feat_channels": "16",
            "model.test_cfg.rpn.nms_pre": "40",
            "model.test_cfg.rpn.max_per_img": "24",
            "model.roi_head.bbox_roi_extractor.out_channels": "16",
            "model.test_cfg.rcnn.score_thr": "0.0",
            **{
                f"model.roi_head.bbox_head.{stage}.{key}": value
                for stage in range(3)
                for key, value in {"in_channels": "16", "fc_out_channels": "32", "num_classes": "3"}.items()
            },
        },
        {"nms_rounds": "40"},
    ),
}
HEADS = {
    "DETRHead": "test_detr_conversion.py::test_padding_is_masked_on_request",
    "RetinaHead": "test_dense.py::test_a_network_for_other_channels_is_converted",
    "RTMDetInsHead": "test_dynamic_masks.py::test_a_whole_conversion",
    "Mask2FormerHead": "test_mask_queries.py::test_a_whole_conversion",
    "SSDHead": "test_family_sweep.py::test_the_table_is_made_from_a_sweep",
    "YOLOXHead": "test_whole_conversions.py::test_a_family",
    "RPNHead": "test_whole_conversions.py::test_a_family",
    "CascadeRoIHead": "test_whole_conversions.py::test_a_family",
    "StandardRoIHead": "test_whole_conversions.py::test_trained_faster_rcnn",
}


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the package ``benchmarks`` importable."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3]))


def mmdet_finds(family: Family, weights: Path, images: list[Path], conf: float, folder: Path) -> list[Any]:
    from adaptrt_mmdet.framework import mmdet_predictions
    from adaptrt_mmdet.mmdet import load_model, model_spec
    from adaptrt_mmdet.options import OneAndTwoStageOptions

    options = OneAndTwoStageOptions(cfg=dict(family.changes))
    shapes = ShapeRequest(imgsz=SIZE)
    ctx = Conversion(Request(family.config, "mmdet", weights=weights, shapes=shapes), options, folder)
    spec, _ = shapes.apply(model_spec(ctx, load_model(ctx)))
    given = {"conf": conf, **({"max_det": int(family.options["max_det"])} if "max_det" in family.options else {})}
    return [mmdet_predictions(ctx, image, spec.with_decoder_params(**given)) for image in images]


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "batch"),
    [("yolox", "1:2:2"), ("retinanet", "1:2:2"), ("rpn", "2"), ("rpn", "1:2:2"), ("cascade_rcnn", "1:2:2")],
)
@pytest.mark.usefixtures("repository")
def test_a_family(name: str, batch: str, tmp_path: Path) -> None:
    """The file finds what mmdet's own predict finds, in four images of other shapes than the input: boxes, scores, classes."""
    from adaptrt.tasks.detect.agreement import matched_boxes
    from benchmarks.detectors.lively import draw_images, lively, opened, threshold

    family = FAMILIES[name]
    # not for YOLOX: boxes that random weights find in the padding have no area, and no IoU, in the image
    images = draw_images(tmp_path, SIZE, padded=name != "yolox")
    weights = lively(family.config, "mmdet", images, SIZE, tmp_path, family.changes)
    model = opened(family.config, "mmdet", tmp_path, family.changes, weights)
    conf = threshold(model, "mmdet", images, SIZE, LEAST)
    report = adaptrt.convert(
        family.config,
        adapter="mmdet",
        weights=weights,
        output=tmp_path / "out.onnx",
        imgsz=SIZE,
        batch=batch,
        image=images[0],
        options={**family.options, "conf": str(conf), **{f"cfg.{key}": value for key, value in family.changes.items()}},
        nms=NmsRequest(rounds=40) if family.nms else False,
        verify="quick",
        html=False,
    )
    assert [report.link(number).status for number in (0, 2, 5)] == ["passed"] * 3
    assert batch == "2" or report.link(2).reason.endswith(" 2")  # compared in batches of 2
    assert not FORBIDDEN & set(report.operators["final"])
    assert report.spec is not None
    assert report.spec.outputs[0].dims[0] == (2 if batch == "2" else "batch")
    assert report.spec.decoder is not None
    assert report.spec.decoder.name == "efficient_nms"
    theirs = mmdet_finds(family, weights, images, conf, tmp_path)
    with adaptrt.load(tmp_path / "out.onnx") as loaded:
        ours: Any = loaded(images)
        assert not loaded.last_warnings
    assert min(map(len, theirs)) >= LEAST
    assert [len(found) for found in ours] == [len(found) for found in theirs]
    assert matched_boxes(0.99, 1e-3).compute(theirs, ours) == 1.0
    if name != "rpn":
        assert len({int(label) for found in theirs for label in found.labels}) >= 2


def test_heads_of_the_full_suite() -> None:
    """At least six heads are converted whole by a test marked full."""
    for test in HEADS.values():
        file, _, name = test.partition("::")
        source = (Path(__file__).parent / file).read_text(encoding="utf-8")
        (decorators,) = re.findall(rf"((?:^@.*\n(?:[ )].*\n)*)*)^def {name}\(", source, re.MULTILINE)
        assert "pytest.mark.full" in decorators, test
    assert len(HEADS) >= 6


@pytest.mark.full
@pytest.mark.parametrize("schema", ["converged", "efficient"])
def test_nms_of_two_stages_is_the_networks_own(schema: str, tmp_path: Path) -> None:
    """``--nms`` sets its rounds and its schema; every detection of the trained fixture is mmdet's."""
    import cv2

    from adaptrt.tasks.segment.agreement import mean_mask_iou
    from adaptrt_mmdet.framework import predict
    from adaptrt_mmdet.options import OneAndTwoStageOptions
    from adaptrt_mmdet.sources import open_source

    paths = []
    for index in range(4):
        paths.append(tmp_path / f"{index}.png")
        cv2.imwrite(str(paths[-1]), draw_detection_image(HELD_OUT_SEED, index, LOOK).image)
    report = adaptrt.convert(
        FIXTURE,
        adapter="mmdet",
        output=tmp_path / "out.onnx",
        image=paths[0],
        nms=NmsRequest(rounds=30, schema=schema),  # type: ignore[arg-type]
        verify="quick",
        html=False,
    )
    assert [report.link(number).status for number in (0, 2, 5)] == ["passed"] * 3
    assert any("in 30 rounds" in note for note in report.notes)
    assert report.spec is not None
    names = [output.name for output in report.spec.outputs]
    assert ("nms_converged" in names) == (schema == "converged")
    source = open_source(Conversion(Request(str(FIXTURE), "mmdet"), OneAndTwoStageOptions(), tmp_path))
    theirs = [found.at(found.scores > 0.25) for found in predict(source, paths)]
    with adaptrt.load(tmp_path / "out.onnx") as model:
        ours: Any = model(paths, conf=0.25)
    assert min(map(len, theirs)) >= 2
    assert [len(found) for found in ours] == [len(found) for found in theirs]
    assert mean_mask_iou(0.99).compute(theirs, ours) >= 0.99


@pytest.mark.full
@pytest.mark.parametrize("batch", ["2", "1:2:2"])
def test_trained_faster_rcnn(batch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fixture without its masks: mmdet's own predict (link 0), alone and in a batch (link 2), as a static graph."""
    from types import SimpleNamespace

    import cv2

    monkeypatch.syspath_prepend(str(Path(__file__).parents[3]))
    from benchmarks.detectors.gpu import CASES, source_of, weights_of
    from benchmarks.gpu.work import Work

    work: Any = Work(SimpleNamespace(work=tmp_path))  # type: ignore[arg-type]
    (case,) = (case for case in CASES if case.name == "faster_rcnn")
    image = tmp_path / "image.png"
    cv2.imwrite(str(image), draw_detection_image(HELD_OUT_SEED, 0, LOOK).image)
    report = adaptrt.convert(
        source_of(work, case),
        adapter="mmdet",
        weights=weights_of(work, case),
        output=tmp_path / "out.onnx",
        image=image,
        batch=batch,
        verify="quick",
        html=False,
    )
    assert [report.link(number).status for number in (0, 2, 5)] == ["passed"] * 3
    assert report.link(2).reason == ("" if batch == "2" else "detections matched as sets; batch 2")
    assert report.spec is not None
    assert report.spec.outputs[0].dims == ((2, 1) if batch == "2" else ("batch", 1))
    assert not FORBIDDEN & set(report.operators["final"])
    assert len(report.images[0].predictions["framework"].data["scores"]) >= 5
    origin = Origin("mmdet", str(source_of(work, case)), weights=weights_of(work, case))
    (eager,), (ours,) = (
        model([image]) for model in (load_reference(tmp_path / "out.onnx", origin), adaptrt.load(tmp_path / "out.onnx"))
    )
    assert len(ours) >= 5
    np.testing.assert_allclose(eager.boxes, ours.boxes, atol=0.1)


def test_another_nms_of_two_stages_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match='nms="onnx": the network itself ends in Cluster-NMS'):
        adaptrt.convert(CONFIG, adapter="mmdet", output=tmp_path / "o.onnx", nms="onnx", html=False)
