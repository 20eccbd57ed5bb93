"""RTMDet-Ins: kernels in the graph, masks in numpy; compared with mmdet's own predict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from draw_shapes import draw_detection_image

import adaptrt
from adaptrt import Conversion, Request, Segments, ShapeRequest
from adaptrt.tasks.segment.agreement import mean_mask_iou
from adaptrt.vision.decoders.decode import decode
from adaptrt.vision.transforms import transform_batch
from adaptrt_mmdet import framework
from adaptrt_mmdet.dense_family import InstanceDetector, dense_spec, wrap_dense
from adaptrt_mmdet.options import MmdetOptions
from adaptrt_mmdet.sources import open_source

CONFIG = "rtmdet-ins_tiny_8xb32-300e_coco"
SIZE = (128, 160)
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


def write_images(folder: Path, count: int) -> list[Path]:
    """Of different sizes and aspect ratios."""
    paths = []
    for index in range(count):
        image = draw_detection_image(7, index).image[: 300 + 40 * index, : 420 - 60 * index]
        paths.append(folder / f"{index}.png")
        cv2.imwrite(str(paths[-1]), image)
    return paths


def lively_weights(images: list[Path], path: Path) -> Path:
    """Random weights with statistics of the images, and scores, boxes and kernels that vary."""
    source = open_source(Conversion(Request(CONFIG, "mmdet"), MmdetOptions(cfg=NARROW), path.parent))
    detector = source.detector
    batch = torch.stack(
        [
            torch.from_numpy(cv2.resize(cv2.imread(str(image)), SIZE[::-1]).transpose(2, 0, 1)).float()
            for image in images
        ]
    )
    norms = [module for module in detector.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for norm in norms:
            norm.train()
            norm.momentum = 1.0
        head = detector.bbox_head
        features = detector.extract_feat((batch - batch.mean()) / batch.std())
        for part, mean, std in (("rtm_cls", -1.0, 1.5), ("rtm_reg", 3.0, 1.0), ("rtm_kernel", 0.0, 0.6)):
            for layer in getattr(head, part):
                layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator))
                layer.bias.zero_()
            maps = head(features)[("rtm_cls", "rtm_reg", "rtm_kernel").index(part)]
            for layer, level, stride in zip(getattr(head, part), maps, (8, 16, 32), strict=True):
                layer.weight *= std / (level / (stride if part == "rtm_reg" else 1)).std()
                layer.bias += mean
        head.mask_head.projection.weight *= 1 / head(features)[3].std()
        for norm in norms:
            norm.eval()
    torch.save({"state_dict": detector.state_dict()}, path)
    return path


def same_objects(theirs: Any, ours: Any) -> None:
    assert isinstance(ours, Segments)
    assert isinstance(theirs, Segments)
    assert len(theirs) == len(ours) >= 10
    assert np.allclose(theirs.scores, ours.scores, atol=1e-4)
    assert np.array_equal(theirs.labels, ours.labels)
    assert np.allclose(theirs.boxes, ours.boxes, atol=1e-2)
    for one, other in zip(theirs.masks, ours.masks, strict=True):
        whole = [mask.in_image(ours.size) for mask in (one, other)]
        assert (whole[0] != whole[1]).sum() <= 2 + whole[0].sum() * 1e-3  # rounding, at the outline
    whole_image = ours.size[0] * ours.size[1]
    assert len({mask.area for mask in theirs.masks} - {0, whole_image}) >= 5


@pytest.mark.full
def test_masks_are_mmdets(tmp_path: Path) -> None:
    """Images of several sizes, so that masks are enlarged by different scales and cut."""
    images = write_images(tmp_path, 2)
    weights = lively_weights(images, tmp_path / "weights.pth")
    shapes = ShapeRequest(imgsz=SIZE)
    ctx = Conversion(Request(CONFIG, "mmdet", weights=weights, shapes=shapes), MmdetOptions(cfg=NARROW), tmp_path)
    model = wrap_dense(open_source(ctx)).eval()
    assert isinstance(model, InstanceDetector)
    spec, _ = shapes.apply(dense_spec(ctx, model))
    assert spec.task == "segment"
    spec = spec.with_decoder_params(conf=0.35)
    for path in images:
        arrays, metas = transform_batch([cv2.imread(str(path))[..., ::-1]], spec)
        with torch.inference_mode():
            outputs = model(torch.from_numpy(arrays["images"]))
        named = {output.name: value.numpy() for output, value in zip(spec.outputs, outputs, strict=True)}
        (ours,) = decode(named, metas, spec)
        same_objects(framework.mmdet_predictions(ctx, path, spec), ours)


@pytest.mark.full
@pytest.mark.parametrize("batch", ["2", "1:2:3"])
def test_a_whole_conversion(batch: str, tmp_path: Path) -> None:
    """The file's masks are those of mmdet's own predict; links 0, 2 and 5."""
    images = write_images(tmp_path, 4)
    weights = lively_weights(images, tmp_path / "weights.pth")
    report = adaptrt.convert(
        CONFIG,
        adapter="mmdet",
        weights=weights,
        output=tmp_path / "out.onnx",
        imgsz=SIZE,
        batch=batch,
        image=images[0],
        options={"cfg": NARROW, "conf": 0.35},
        verify="quick",
        html=False,
    )
    assert [report.link(number).status for number in (0, 2, 5)] == ["passed"] * 3
    ctx = Conversion(Request(CONFIG, "mmdet", weights=weights), MmdetOptions(cfg=NARROW), tmp_path)
    assert report.spec is not None
    theirs = [framework.mmdet_predictions(ctx, path, report.spec) for path in images[:2]]
    with adaptrt.load(tmp_path / "out.onnx") as model:
        ours: Any = model(images[:2])
    assert min(map(len, theirs)) >= 10
    assert [len(found) for found in ours] == [len(found) for found in theirs]
    assert mean_mask_iou(0.99).compute(theirs, ours) >= 0.99
