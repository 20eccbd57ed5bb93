"""RTMDet-Ins: kernels in the graph, masks in numpy; compared with mmdet's own predict."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmdet_masks import converted_as_mmdet, labels_as_mmdet, normalized, taking_statistics, write_images

from adaptrt import Conversion, Request, ShapeRequest
from adaptrt_mmdet.dense_family import InstanceDetector, dense_spec, wrap_dense
from adaptrt_mmdet.options import MmdetOptions
from adaptrt_mmdet.sources import open_source

CONFIG = "rtmdet-ins_tiny_8xb32-300e_coco"
SIZE = (128, 160)
IMAGES = (300, 420)
NARROW = {
    "model.backbone.widen_factor": "0.125",
    "model.neck.in_channels": "[32,64,128]",
    "model.neck.out_channels": "16",
    "model.bbox_head.in_channels": "16",
    "model.bbox_head.feat_channels": "16",
    "model.bbox_head.num_classes": "3",
    "model.bbox_head.norm_cfg.type": "BN",
    "model.backbone.norm_cfg.type": "BN",
    "model.neck.norm_cfg.type": "BN",
}


def lively_weights(images: list[Path], path: Path) -> Path:
    """Random weights with statistics of the images, and scores, boxes and kernels that vary."""
    source = open_source(Conversion(Request(CONFIG, "mmdet"), MmdetOptions(cfg=NARROW), path.parent))
    detector = source.detector
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad(), taking_statistics(detector):
        head = detector.bbox_head
        features = detector.extract_feat(normalized(images, SIZE))
        for part, mean, std in (("rtm_cls", -1.0, 1.5), ("rtm_reg", 3.0, 1.0), ("rtm_kernel", 0.0, 0.6)):
            for layer in getattr(head, part):
                layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator))
                layer.bias.zero_()
            maps = head(features)[("rtm_cls", "rtm_reg", "rtm_kernel").index(part)]
            for layer, level, stride in zip(getattr(head, part), maps, (8, 16, 32), strict=True):
                layer.weight *= std / (level / (stride if part == "rtm_reg" else 1)).std()
                layer.bias += mean
        head.mask_head.projection.weight *= 1 / head(features)[3].std()
    torch.save({"state_dict": detector.state_dict()}, path)
    return path


@pytest.mark.full
def test_masks_are_mmdets(tmp_path: Path) -> None:
    """Images of several sizes, so that masks are enlarged by different scales and cut."""
    images = write_images(tmp_path, 2, IMAGES)
    weights = lively_weights(images, tmp_path / "weights.pth")
    shapes = ShapeRequest(imgsz=SIZE)
    ctx = Conversion(Request(CONFIG, "mmdet", weights=weights, shapes=shapes), MmdetOptions(cfg=NARROW), tmp_path)
    model = wrap_dense(open_source(ctx)).eval()
    assert isinstance(model, InstanceDetector)
    spec, _ = shapes.apply(dense_spec(ctx, model))
    assert spec.task == "segment"
    labels_as_mmdet(ctx, model, spec.with_decoder_params(conf=0.35), images, areas=5)


@pytest.mark.full
@pytest.mark.parametrize("batch", ["2", "1:2:3"])
def test_a_whole_conversion(batch: str, tmp_path: Path) -> None:
    """The file's masks are those of mmdet's own predict; links 0, 2 and 5."""
    images = write_images(tmp_path, 4, IMAGES)
    weights = lively_weights(images, tmp_path / "weights.pth")
    report = converted_as_mmdet(CONFIG, NARROW, weights, images, tmp_path, conf=0.35, imgsz=SIZE, batch=batch)
    assert [report.link(number).status for number in (0, 2, 5)] == ["passed"] * 3
