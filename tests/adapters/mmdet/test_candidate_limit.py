"""mmdet's limit ``nms_pre`` on candidates: the comparison with mmdet lifts it where our outputs have all candidates, and says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from draw_shapes import draw_detection_image

from adaptrt import Conversion, Detections, Request, ShapeRequest
from adaptrt.vision.decoders.decode import decode
from adaptrt.vision.transforms import transform_batch
from adaptrt_mmdet import framework
from adaptrt_mmdet.dense_family import dense_spec, wrap_dense
from adaptrt_mmdet.options import MmdetOptions
from adaptrt_mmdet.sources import open_source

HEADS = (
    "retinanet_r18_fpn_1x_coco",
    "fcos_r50-caffe_fpn_gn-head_1x_coco",  # ranks before it multiplies with centerness
    "gfl_r50_fpn_1x_coco",  # own decoding, per level
    "yolov3_mobilenetv2_8xb24-320-300e_coco",  # one limit for all levels
)
SIZE = (96, 128)


def opened(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> tuple[Any, Any, Any]:
    """Context, network and spec of a detector whose head returns random maps: hundreds of pairs are above ``conf``."""
    shapes = ShapeRequest(imgsz=SIZE)
    changes = {"model.test_cfg.nms_pre": "30", "model.bbox_head.num_classes": "3"}
    given = MmdetOptions(cfg=changes, **options)
    ctx = Conversion(Request(name, "mmdet", shapes=shapes), given, tmp_path)
    source = open_source(ctx)
    model = wrap_dense(source, raw=given.raw).eval()
    spec, _ = shapes.apply(dense_spec(ctx, model))
    head = source.detector.bbox_head
    with torch.inference_mode():
        shapes_of = head(source.detector.extract_feat(torch.zeros(1, 3, *SIZE)))
    generator = torch.Generator().manual_seed(3)
    maps = [[torch.randn(level.shape, generator=generator) for level in part] for part in shapes_of]
    if "fcos" in name:
        maps[1] = [20 * level.abs() for level in maps[1]]
    monkeypatch.setattr(
        head, "forward", lambda levels: [[one.repeat(len(levels[0]), 1, 1, 1) for one in part] for part in maps]
    )
    monkeypatch.setattr(framework, "open_source", lambda _: source)
    return ctx, model, spec.with_decoder_params(conf=0.3, iou=0.6, max_det=300)


def found_by_both(ctx: Any, model: Any, spec: Any, tmp_path: Path) -> tuple[Detections, Detections]:
    import cv2

    image = cv2.resize(draw_detection_image(5, 0).image, SIZE[::-1])
    cv2.imwrite(str(tmp_path / "image.png"), image)
    arrays, metas = transform_batch([image], spec)
    with torch.inference_mode():
        outputs = model(torch.from_numpy(arrays["images"]))
    named = {output.name: value.numpy() for output, value in zip(spec.outputs, outputs, strict=True)}
    (ours,) = decode(named, metas, spec)
    return framework.mmdet_predictions(ctx, tmp_path / "image.png", spec), ours  # type: ignore[return-value]


def assert_same(theirs: Detections, ours: Detections) -> None:
    assert len(theirs) == len(ours) >= 30
    assert np.allclose(theirs.scores, ours.scores, atol=1e-5)
    assert np.array_equal(theirs.labels, ours.labels)
    assert np.allclose(theirs.boxes, ours.boxes, atol=1e-2)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if "retinanet" in name else pytest.mark.full) for name in HEADS]
)
def test_every_candidate_is_compared(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx, model, spec = opened(name, tmp_path, monkeypatch)
    assert_same(*found_by_both(ctx, model, spec, tmp_path))
    (note,) = (note for note in ctx.notes if "nms_pre" in note)
    assert "nms_pre=30" in note
    assert "--set raw=true" in note or name.startswith("yolov3")


@pytest.mark.full
def test_nothing_is_said_where_the_limit_leaves_nothing_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx, model, spec = opened("retinanet_r18_fpn_1x_coco", tmp_path, monkeypatch)
    found_by_both(ctx, model, spec.with_decoder_params(conf=0.999), tmp_path)
    assert not [note for note in ctx.notes if "nms_pre" in note]


@pytest.mark.full
def test_raw_outputs_have_mmdets_own_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx, model, spec = opened("retinanet_r18_fpn_1x_coco", tmp_path, monkeypatch, raw=True)
    theirs, ours = found_by_both(ctx, model, spec, tmp_path)
    _, _, decoded = opened("retinanet_r18_fpn_1x_coco", tmp_path, monkeypatch)
    assert decoded.decoder.name == "box_scores"
    assert_same(theirs, ours)
    assert not [note for note in ctx.notes if "nms_pre" in note]
