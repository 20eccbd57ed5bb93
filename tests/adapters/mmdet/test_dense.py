"""One-stage detectors: their heads decoded in numpy, held against mmdet's own predict_by_feat."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adaptrt import Conversion, Detections, ImageMeta, ModelError, Request, ShapeRequest
from adaptrt.patching import applied, require_called
from adaptrt.plugins.facade import Contributed
from adaptrt.vision.decoders.decode import decode
from adaptrt_mmdet.configs import find_config
from adaptrt_mmdet.dense_family import dense_patches, dense_spec, wrap_dense
from adaptrt_mmdet.framework import set_thresholds, torchvision_nms
from adaptrt_mmdet.options import MmdetOptions
from adaptrt_mmdet.sources import Source, open_source

SIZE = (128, 160)
SMALL = {"model.backbone.depth": "18", "model.neck.in_channels": "[64,128,256,512]"}
CONFIGS: dict[str, dict[str, str]] = {
    "retinanet_r18_fpn_1x_coco": {},
    "fcos_r50-caffe_fpn_gn-head_1x_coco": SMALL,
    "atss_r50_fpn_1x_coco": SMALL,
    "gfl_r50_fpn_1x_coco": SMALL,
    "yolox_tiny_8xb8-300e_coco": {},
    "rtmdet_tiny_8xb32-300e_coco": {},
}
EVERYDAY = {"retinanet_r18_fpn_1x_coco", "rtmdet_tiny_8xb32-300e_coco"}
"""With anchors and without; the others in the full suite."""


def opened(name: str, tmp_path: Path) -> tuple[Any, Any]:
    """The wrapped detector and its spec at ``SIZE``."""
    shapes = ShapeRequest(imgsz=SIZE)
    ctx = Conversion(Request(name, "mmdet", shapes=shapes), MmdetOptions(cfg=CONFIGS.get(name, {})), tmp_path)
    model = wrap_dense(open_source(ctx)).eval()
    spec, _ = shapes.apply(dense_spec(ctx, model))
    return model, spec


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in EVERYDAY else pytest.mark.full) for name in CONFIGS]
)
def test_numpy_decodes_what_mmdet_decodes(name: str, tmp_path: Path) -> None:
    """On maps drawn at random, no two scores alike: among equals the order would be anybody's."""
    model, spec = opened(name, tmp_path)
    head = model.detector.bbox_head
    generator = torch.Generator().manual_seed(1)
    with torch.inference_mode(), torchvision_nms():
        shapes = head(model.detector.extract_feat(torch.zeros(2, 3, *SIZE)))
        logits, boxes, *factors = [[torch.randn(level.shape, generator=generator) for level in part] for part in shapes]
        logits = [2 * level - 2 for level in logits]
        if spec.decoder.params["coding"] == "distance":
            boxes = [20 * level.abs() for level in boxes]
        maps = [logits, boxes, *factors]
        widths = [head.cls_out_channels, boxes[0].shape[1] // getattr(head, "num_base_priors", 1), 1]
        joined = [model._joined(part, width) for part, width in zip(maps, widths, strict=False)]
        metas = [{"img_shape": SIZE, "ori_shape": SIZE, "scale_factor": (1.0, 1.0)}] * 2
        params = {"conf": 0.002, "iou": 0.4, "max_det": 80}  # a threshold below mmdet's score_thr
        set_thresholds(head, params)
        expected = head.predict_by_feat(*maps, batch_img_metas=metas, rescale=True)
    outputs = dict(zip(("logits", "boxes", "factors"), (part.numpy() for part in joined), strict=False))
    if factors:
        outputs["factors"] = outputs["factors"][..., 0]
    spec = spec.with_decoder_params(**params)
    for theirs, ours in zip(expected, decode(outputs, [ImageMeta(SIZE, SIZE)] * 2, spec), strict=True):
        assert isinstance(ours, Detections)
        count = min(len(theirs.scores), 80)  # YOLOX gives them all
        assert len(ours) == count == 80
        assert np.allclose(ours.scores, theirs.scores.numpy()[:count], atol=1e-6)
        assert np.array_equal(ours.labels, theirs.labels.numpy()[:count])
        clipped = np.clip(theirs.bboxes.numpy()[:count], 0, (SIZE[1], SIZE[0]) * 2)
        assert np.allclose(ours.boxes, clipped, atol=1e-3)


def test_a_fixed_size_is_counted_before_the_export(tmp_path: Path) -> None:
    model, spec = opened("retinanet_r18_fpn_1x_coco", tmp_path)
    images = torch.randn(2, 3, *SIZE)
    with torch.inference_mode():
        expected = model(images)
        with applied(model, [Contributed(patch, "test") for patch in dense_patches(spec)]) as records:
            actual = model(images)
            require_called(records)
    assert all(torch.equal(one, other) for one, other in zip(expected, actual, strict=True))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("detr_r50_8xb2-150e_coco", "belongs to the DETR family"),
        ("faster-rcnn_r50_fpn_1x_coco", "is not supported"),
        ("mask-rcnn_r50_fpn_1x_coco", "is not supported"),
    ],
)
def test_others_are_refused_by_name(name: str, words: str, tmp_path: Path) -> None:
    assert find_config(name)
    with pytest.raises(ModelError, match=words):
        wrap_dense(open_source(Conversion(Request(name, "mmdet"), MmdetOptions(), tmp_path)))


def test_nms_of_another_kind_is_refused(tmp_path: Path) -> None:
    model, _ = opened("retinanet_r18_fpn_1x_coco", tmp_path)
    model.detector.bbox_head.test_cfg.nms.type = "soft_nms"
    with pytest.raises(ModelError, match="requests soft_nms"):
        wrap_dense(Source(model.source.config, None, model.detector))


def test_a_compiled_op_is_named_when_it_is_called(tmp_path: Path) -> None:
    """A deformable convolution builds, and says what it needs when it runs."""
    from adaptrt_mmdet.stand_in import has_compiled_ops

    if has_compiled_ops():
        pytest.skip("the compiled ops are installed")
    import adaptrt

    with pytest.raises(adaptrt.DependencyError, match="deform_conv") as caught:
        adaptrt.convert(
            "atss_r50_fpn_1x_coco",
            adapter="mmdet",
            output=tmp_path / "o.onnx",
            imgsz=(64, 64),
            options={
                "cfg.model.backbone.dcn.type": "DCN",
                "cfg.model.backbone.dcn.deform_groups": "1",
                "cfg.model.backbone.dcn.fallback_on_stride": "False",
                "cfg.model.backbone.stage_with_dcn": "(False,True,True,True)",
            },
            html=False,
        )
    assert "--no-build-isolation" in str(caught.value)
