"""Whole conversions, each link against mmdet's own predict, and --nms of detectors with one and two stages.

Eight different heads are converted whole in the full suite: those of DETR (test_detr_conversion.py), SSD, RetinaNet, YOLOX, RTMDet-Ins
(test_dynamic_masks.py), Faster and Mask R-CNN, Cascade R-CNN, and RPN.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from draw_shapes import draw_detection_image
from train_mask_rcnn import CONFIG, FIXTURE, HELD_OUT_SEED, LOOK

import adaptrt
from adaptrt import Conversion, NmsRequest, Request, UsageError

for module in ("onnx", "onnxruntime"):
    pytest.importorskip(module, reason=f"a conversion needs {module}")

FORBIDDEN = {"NonMaxSuppression", "NonZero", "Loop", "If"}
NARROW = {
    "model.backbone.depth": "18",
    "model.backbone.base_channels": "8",
    "model.neck.in_channels": "[8,16,32,64]",
    "model.neck.out_channels": "16",
    "model.rpn_head.in_channels": "16",
    "model.rpn_head.feat_channels": "16",
    "model.test_cfg.rpn.nms_pre": "40",
    "model.test_cfg.rpn.max_per_img": "16",
}
ROI = {"model.roi_head.bbox_roi_extractor.out_channels": "16"}
HEAD = {"in_channels": "16", "fc_out_channels": "32", "num_classes": "3"}
TWO_STAGES: dict[str, dict[str, str]] = {
    "cascade-rcnn_r50_fpn_1x_coco": {
        **NARROW,
        **ROI,
        **{f"model.roi_head.bbox_head.{stage}.{k}": v for stage in range(3) for k, v in HEAD.items()},
    },
    "rpn_r50_fpn_1x_coco": NARROW,
}
SCALES = {"rpn_cls": 2.0, "fc_cls": 0.5, "rpn_reg": 0.1, "fc_reg": 0.02}


def lively(config: str, changes: dict[str, str], images: list[Any], path: Path) -> Path:
    """A checkpoint of random weights with the statistics of images, whose scores and boxes vary."""
    from adaptrt_mmdet.build import build_detector
    from adaptrt_mmdet.configs import load_config

    detector: Any = build_detector(load_config(config, changes), None)
    batch = torch.stack([torch.from_numpy(image.transpose(2, 0, 1).copy()).float() for image in images])
    norms = [module for module in detector.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for norm in norms:
            norm.train()
            norm.momentum, norm.track_running_stats = 1.0, True
        detector.extract_feat((batch - batch.mean()) / batch.std())
        for norm in norms:
            norm.eval()
        for name, parameter in detector.named_parameters():
            scale = next((scale for part, scale in SCALES.items() if part in name), 0.0)
            parameter += scale * torch.randn(parameter.shape, generator=generator)
    torch.save({"state_dict": detector.state_dict()}, path)
    return path


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


@pytest.mark.full
@pytest.mark.parametrize("batch", ["2", "1:2:2"])
@pytest.mark.parametrize("config", TWO_STAGES)
def test_two_stages_as_static_graphs(config: str, batch: str, tmp_path: Path) -> None:
    """mmdet's own predict (link 0), alone and in a batch (link 2), on images with real content."""
    import cv2

    images = [cv2.resize(draw_detection_image(HELD_OUT_SEED, index, LOOK).image, (160, 128)) for index in range(4)]
    cv2.imwrite(str(tmp_path / "image.png"), images[0])
    conf = {"conf": "0.3"} if config.startswith("cascade") else {}
    report = adaptrt.convert(
        config,
        adapter="mmdet",
        weights=lively(config, TWO_STAGES[config], images, tmp_path / "weights.pth"),
        output=tmp_path / "out.onnx",
        imgsz=(128, 160),
        batch=batch,
        image=tmp_path / "image.png",
        options={"nms_rounds": "40", **conf, **{f"cfg.{key}": value for key, value in TWO_STAGES[config].items()}},
        verify="quick",
        html=False,
    )
    assert [report.link(number).status for number in (0, 2, 5)] == ["passed"] * 3
    assert report.link(2).reason == ("" if batch == "2" else "detections matched as sets; batch 2")
    assert not FORBIDDEN & set(report.operators["final"])
    assert report.spec is not None
    assert report.spec.outputs[0].dims == ((2, 1) if batch == "2" else ("batch", 1))
    assert len(report.images[0].predictions["framework"].data["scores"]) >= 5


@pytest.mark.full
@pytest.mark.parametrize("name", ["RetinaNet", "YOLOX-tiny"])
def test_nms_in_the_graph_of_one_stage(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file with ``--nms`` finds what mmdet's own predict finds: boxes, scores, and classes; random weights."""
    from adaptrt.tasks.detect.agreement import matched_boxes

    monkeypatch.syspath_prepend(str(Path(__file__).parents[3]))
    from benchmarks.detr.family import MODELS, SIZE, lively, threshold

    adapter, config = MODELS[name]
    weights, image = lively(config, tmp_path)
    conf = threshold(adapter, config, weights, image)
    report = adaptrt.convert(
        config,
        adapter=adapter,
        weights=weights,
        output=tmp_path / "out.onnx",
        imgsz=SIZE,
        batch="1:2:2",
        image=image,
        options={"conf": str(conf)},
        nms=NmsRequest(rounds=40),
        verify="quick",
        html=False,
    )
    assert [report.link(number).status for number in (0, 2, 5)] == ["passed"] * 3
    assert not FORBIDDEN & set(report.operators["final"])
    theirs = report.images[0].predictions["framework"].data
    expected = adaptrt.Detections(
        np.array(theirs["boxes"], np.float32), np.array(theirs["scores"], np.float32), np.array(theirs["labels"])
    )
    with adaptrt.load(tmp_path / "out.onnx") as model:
        (found,) = model([image])
        assert not model.last_warnings
    assert len(found) == len(expected) >= 9
    assert matched_boxes(0.99, 1e-3).compute([expected], [found]) == 1.0


def test_another_nms_of_two_stages_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--nms onnx: the network itself ends in Cluster-NMS"):
        adaptrt.convert(CONFIG, adapter="mmdet", output=tmp_path / "o.onnx", nms="onnx", html=False)


@pytest.mark.full
def test_ssd_at_its_own_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """300 x 300: mmdet's predict (link 0), the graph alone and in batches (link 2), link 5."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3]))
    from benchmarks.detr.family import measure

    result = measure("SSD300", "torchscript")
    assert result["passed"], result
    assert result["boxes"] >= 5
