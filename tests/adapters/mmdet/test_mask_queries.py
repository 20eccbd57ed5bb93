"""Mask2Former: scores and masks of queries in the graph, objects in numpy; compared with mmdet's own predict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from draw_shapes import draw_detection_image

import adaptrt
from adaptrt import Conversion, ModelError, Request, Segments, ShapeRequest, UsageError
from adaptrt.tasks.segment.agreement import mean_mask_iou
from adaptrt.vision.decoders.decode import decode
from adaptrt.vision.transforms import transform_batch
from adaptrt_mmdet import framework
from adaptrt_mmdet.mask_queries import mask_query_spec, wrap_mask_queries
from adaptrt_mmdet.options import MmdetOptions
from adaptrt_mmdet.sources import open_source

CONFIG = "mask2former_r50_8xb2-lsj-50e_coco"
SIZE = (96, 128)
HEAD = "model.panoptic_head"
NARROW = {
    "model.backbone.depth": "18",
    "model.backbone.base_channels": "16",
    f"{HEAD}.in_channels": "[16,32,64,128]",
    f"{HEAD}.feat_channels": "32",
    f"{HEAD}.out_channels": "32",
    f"{HEAD}.num_queries": "30",
    f"{HEAD}.num_things_classes": "3",
    f"{HEAD}.loss_cls.class_weight": "[1.0,1.0,1.0,0.1]",
    f"{HEAD}.positional_encoding.num_feats": "16",
    f"{HEAD}.pixel_decoder.positional_encoding.num_feats": "16",
    f"{HEAD}.pixel_decoder.norm_cfg.num_groups": "8",
    f"{HEAD}.pixel_decoder.encoder.num_layers": "2",
    f"{HEAD}.pixel_decoder.encoder.layer_cfg.self_attn_cfg.embed_dims": "32",
    f"{HEAD}.pixel_decoder.encoder.layer_cfg.self_attn_cfg.num_heads": "4",
    f"{HEAD}.pixel_decoder.encoder.layer_cfg.ffn_cfg.embed_dims": "32",
    f"{HEAD}.pixel_decoder.encoder.layer_cfg.ffn_cfg.feedforward_channels": "64",
    f"{HEAD}.transformer_decoder.num_layers": "4",
    f"{HEAD}.transformer_decoder.layer_cfg.self_attn_cfg.embed_dims": "32",
    f"{HEAD}.transformer_decoder.layer_cfg.self_attn_cfg.num_heads": "4",
    f"{HEAD}.transformer_decoder.layer_cfg.cross_attn_cfg.embed_dims": "32",
    f"{HEAD}.transformer_decoder.layer_cfg.cross_attn_cfg.num_heads": "4",
    f"{HEAD}.transformer_decoder.layer_cfg.ffn_cfg.embed_dims": "32",
    f"{HEAD}.transformer_decoder.layer_cfg.ffn_cfg.feedforward_channels": "64",
    "model.panoptic_fusion_head.num_things_classes": "3",
    "model.test_cfg.max_per_image": "60",
}
CONF = 0.3


def write_images(folder: Path, count: int) -> list[Path]:
    """Of different sizes and aspect ratios."""
    paths = []
    for index in range(count):
        image = draw_detection_image(7, index).image[: 240 + 40 * index, : 360 - 60 * index]
        paths.append(folder / f"{index}.png")
        cv2.imwrite(str(paths[-1]), image)
    return paths


def lively_weights(images: list[Path], path: Path) -> Path:
    """Random weights with statistics of the images, and scores and masks that vary over queries and images."""
    detector: Any = open_source(Conversion(Request(CONFIG, "mmdet"), MmdetOptions(cfg=NARROW), path.parent)).detector
    pixels = [cv2.resize(cv2.imread(str(image)), SIZE[::-1]).transpose(2, 0, 1) for image in images]
    batch = torch.from_numpy(np.stack(pixels)).float()
    norms = [module for module in detector.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for norm in norms:
            norm.train()
            norm.momentum = 1.0
        features = detector.extract_feat((batch - batch.mean()) / batch.std())
        for norm in norms:
            norm.eval()
        head = detector.panoptic_head
        for name, parameter in head.named_parameters():
            if "sampling_offsets" in name or "attention_weights" in name:
                parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
        for layer in head.mask_embed:
            if isinstance(layer, torch.nn.Linear):
                layer.weight *= 2
        logits, masks = (found[-1] for found in head(features, []))
        head.mask_embed[-1].weight *= 4 / masks.std()
        head.cls_embed.weight *= 3 / logits.std()
        head.cls_embed.bias[-1] -= 4  # little background
    torch.save({"state_dict": detector.state_dict()}, path)
    return path


def same_objects(theirs: Any, ours: Any) -> None:
    assert isinstance(ours, Segments)
    assert isinstance(theirs, Segments)
    assert len(theirs) == len(ours) >= 10
    assert np.allclose(theirs.scores, ours.scores, atol=1e-4)
    assert np.array_equal(theirs.labels, ours.labels)
    whole = ours.size[0] * ours.size[1]
    assert len({mask.area for mask in theirs.masks} - {0, whole}) >= 8
    for one, other in zip(theirs.masks, ours.masks, strict=True):
        bitmaps = [mask.in_image(ours.size) for mask in (one, other)]
        assert (bitmaps[0] != bitmaps[1]).sum() <= 2 + bitmaps[0].sum() * 1e-3  # rounding, at the outline


@pytest.mark.full
def test_objects_are_mmdets(tmp_path: Path) -> None:
    """Images of several sizes, so that masks are enlarged by different scales and cut."""
    images = write_images(tmp_path, 2)
    weights = lively_weights(images, tmp_path / "weights.pth")
    shapes = ShapeRequest(imgsz=SIZE)
    ctx = Conversion(Request(CONFIG, "mmdet", weights=weights, shapes=shapes), MmdetOptions(cfg=NARROW), tmp_path)
    model = wrap_mask_queries(open_source(ctx)).eval()
    spec, _ = shapes.apply(mask_query_spec(ctx, model))
    assert spec.task == "segment"
    spec = spec.with_decoder_params(conf=CONF)
    labels = set()
    for path in images:
        arrays, metas = transform_batch([cv2.imread(str(path))[..., ::-1]], spec)
        with torch.inference_mode():
            outputs = model(torch.from_numpy(arrays["images"]))
        named = {output.name: value.numpy() for output, value in zip(spec.outputs, outputs, strict=True)}
        (ours,) = decode(named, metas, spec)
        same_objects(framework.mmdet_predictions(ctx, path, spec), ours)
        labels |= set(ours.labels.tolist())
    assert len(labels) >= 2


@pytest.mark.full
@pytest.mark.parametrize("batch", ["2", "1:2:3"])
def test_a_whole_conversion(batch: str, tmp_path: Path) -> None:
    """The file's masks are those of mmdet's own predict; links 0, 1, 2 and 5."""
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
        options={"cfg": NARROW, "conf": CONF},
        verify="quick",
        html=False,
    )
    assert [report.link(number).status for number in (0, 1, 2, 5)] == ["passed"] * 4
    assert not {"Shape", "GridSample", "NonZero", "Loop", "If"} & set(report.operators["final"])
    ctx = Conversion(Request(CONFIG, "mmdet", weights=weights), MmdetOptions(cfg=NARROW), tmp_path)
    assert report.spec is not None
    theirs = [framework.mmdet_predictions(ctx, path, report.spec) for path in images[:2]]
    with adaptrt.load(tmp_path / "out.onnx") as model:
        ours: Any = model(images[:2])
    assert min(map(len, theirs)) >= 10
    assert [len(found) for found in ours] == [len(found) for found in theirs]
    assert mean_mask_iou(0.99).compute(theirs, ours) >= 0.99


@pytest.mark.full
def test_other_parts_are_refused_by_name(tmp_path: Path) -> None:
    ctx = Conversion(Request(CONFIG, "mmdet"), MmdetOptions(cfg=NARROW), tmp_path)
    source = open_source(ctx)
    with pytest.raises(UsageError, match="raw=true is not supported for Mask2Former"):
        wrap_mask_queries(source, raw=True)
    source.detector.panoptic_head.pixel_decoder = torch.nn.Identity()
    with pytest.raises(ModelError, match="with Identity .pixel decoder. is not supported"):
        wrap_mask_queries(source)
