"""Mask2Former: scores and masks of queries in the graph, objects in numpy; compared with mmdet's own predict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mmdet_masks import converted_as_mmdet, labels_as_mmdet, normalized, taking_statistics, write_images

from adaptrt import Conversion, ModelError, Request, ShapeRequest, UsageError
from adaptrt_mmdet.mask_queries import mask_query_spec, wrap_mask_queries
from adaptrt_mmdet.options import MmdetOptions
from adaptrt_mmdet.sources import open_source

CONFIG = "mask2former_r50_8xb2-lsj-50e_coco"
SIZE = (96, 128)
IMAGES = (240, 360)
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


def lively_weights(images: list[Path], path: Path) -> Path:
    """Random weights with statistics of the images, and scores and masks that vary over queries and images."""
    detector: Any = open_source(Conversion(Request(CONFIG, "mmdet"), MmdetOptions(cfg=NARROW), path.parent)).detector
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        with taking_statistics(detector):
            features = detector.extract_feat(normalized(images, SIZE))
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


@pytest.mark.full
def test_objects_are_mmdets(tmp_path: Path) -> None:
    """Images of several sizes, so that masks are enlarged by different scales and cut."""
    images = write_images(tmp_path, 2, IMAGES)
    weights = lively_weights(images, tmp_path / "weights.pth")
    shapes = ShapeRequest(imgsz=SIZE)
    ctx = Conversion(Request(CONFIG, "mmdet", weights=weights, shapes=shapes), MmdetOptions(cfg=NARROW), tmp_path)
    model = wrap_mask_queries(open_source(ctx)).eval()
    spec, _ = shapes.apply(mask_query_spec(ctx, model))
    assert spec.task == "segment"
    assert len(labels_as_mmdet(ctx, model, spec.with_decoder_params(conf=CONF), images, areas=8)) >= 2


@pytest.mark.full
@pytest.mark.parametrize("batch", ["2", "1:2:3"])
def test_a_whole_conversion(batch: str, tmp_path: Path) -> None:
    """The file's masks are those of mmdet's own predict; links 0, 1, 2 and 5."""
    images = write_images(tmp_path, 4, IMAGES)
    weights = lively_weights(images, tmp_path / "weights.pth")
    report = converted_as_mmdet(CONFIG, NARROW, weights, images, tmp_path, conf=CONF, imgsz=SIZE, batch=batch)
    assert [report.link(number).status for number in (0, 1, 2, 5)] == ["passed"] * 4
    assert not {"Shape", "GridSample", "NonZero", "Loop", "If"} & set(report.operators["final"])


@pytest.mark.full
def test_other_parts_are_refused_by_name(tmp_path: Path) -> None:
    ctx = Conversion(Request(CONFIG, "mmdet"), MmdetOptions(cfg=NARROW), tmp_path)
    source = open_source(ctx)
    with pytest.raises(UsageError, match="raw=true is not supported for Mask2Former"):
        wrap_mask_queries(source, raw=True)
    source.detector.panoptic_head.pixel_decoder = torch.nn.Identity()
    with pytest.raises(ModelError, match="with Identity .pixel decoder. is not supported"):
        wrap_mask_queries(source)
