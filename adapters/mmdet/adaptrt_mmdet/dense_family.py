"""One-stage detectors: the network returns the heads' maps as lists of candidates, which are decoded in numpy."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from adaptrt import (
    Conversion,
    DecoderSpec,
    Dim,
    InputSpec,
    ModelError,
    ModelSpec,
    OutputGroup,
    OutputSpec,
    Patch,
    SwitchPatch,
    did_you_mean,
)
from adaptrt.checkpoint import warn_of_random_weights
from adaptrt_mmdet.dense_decoder import DenseParams
from adaptrt_mmdet.images import TestImages, input_channels, read_test_images
from adaptrt_mmdet.labels import class_names
from adaptrt_mmdet.options import MmdetOptions
from adaptrt_mmdet.query_family import FAMILY as QUERY_FAMILY
from adaptrt_mmdet.sources import Source

STRIDE = 32
FACTORS = ("FCOSHead", "ATSSHead", "YOLOXHead")
HEADS = ("RetinaHead", "FCOSHead", "ATSSHead", "GFLHead", "YOLOXHead", "RTMDetHead", "RTMDetSepBNHead")


class DenseDetector(nn.Module):
    """Images float32 [B, 3, H, W] to logits [B, N, C], encoded boxes [B, N, 4 or 4 bins], and for some heads factors [B, N]."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.detector: Any = source.detector
        self.source = source
        self.static = False

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        head = self.detector.bbox_head
        maps = head(self.detector.extract_feat(images))
        classes = int(head.cls_out_channels)
        logits = self._joined(maps[0], classes)
        count = int(getattr(head, "num_base_priors", 1))  # YOLOX has no num_base_priors: it uses points
        boxes = self._joined(maps[1], int(maps[1][0].shape[1]) // count)
        if len(maps) == 2:
            return logits, boxes
        return logits, boxes, self._joined(maps[2], 1)[..., 0]  # squeeze would read the size at run time

    def _joined(self, maps: list[torch.Tensor], width: int) -> torch.Tensor:
        """Maps [B, A * width, h, w] of every level to [B, N, width]."""
        levels = []
        for level in maps:
            tokens = level.permute(0, 2, 3, 1)
            if self.static:
                channels, height, columns = (int(size) for size in level.shape[1:])
                levels.append(tokens.reshape(-1, height * columns * channels // width, width))
            else:
                levels.append(tokens.reshape(level.shape[0], -1, width))
        return torch.cat(levels, 1)


def wrap_dense(source: Source) -> DenseDetector:
    """Wrap the detector; unsupported parts raise an error that names them."""
    kind = type(source.detector).__name__
    if kind in QUERY_FAMILY:
        raise ModelError(f"{kind} belongs to the DETR family.", hint="Use --adapter detr.")
    head = type(getattr(source.detector, "bbox_head", None)).__name__
    if head not in HEADS or getattr(source.detector, "roi_head", None) is not None:
        raise ModelError(
            f"{kind} with {head if head != 'NoneType' else 'no dense head'} is not supported.",
            hint=f"{did_you_mean(head, HEADS)} Supported are one-stage detectors with one of these heads.",
        )
    nms = (source.detector.bbox_head.test_cfg or {}).get("nms") or {}
    if nms.get("type", "nms") != "nms":
        raise ModelError(
            f"The config requests {nms['type']}.",
            hint="Only plain NMS is supported: --set cfg.model.test_cfg.nms.type=nms",
        )
    return DenseDetector(source)


def dense_spec(ctx: Conversion, model: DenseDetector) -> ModelSpec:
    options: MmdetOptions = ctx.options
    if model.source.checkpoint is None:
        warn_of_random_weights(ctx, ctx.request.source)
    images = read_test_images(model.source.config, stride=STRIDE)
    head = model.detector.bbox_head
    outputs = [
        OutputSpec("logits", groups=(OutputGroup("logits", "logits"),)),
        OutputSpec("boxes", groups=(OutputGroup("boxes", "values"),)),
    ]
    if type(head).__name__ in FACTORS:
        outputs.append(OutputSpec("factors", groups=(OutputGroup("factors", "logits"),)))
    decoder = DecoderSpec("raw") if options.raw else DecoderSpec("dense", decoder_params(head))
    return ModelSpec(
        inputs=(_image_input(model, images),),
        outputs=tuple(outputs),
        task="values" if options.raw else "detect",
        image=images.transform("letterbox" if images.keep_ratio else "stretch", stride=STRIDE),
        decoder=decoder,
        labels=class_names(model.source.config, model.source.checkpoint, int(head.num_classes)),
        exporter="torchscript",
    )


def _image_input(model: DenseDetector, images: TestImages) -> InputSpec:
    batch, channels = Dim(1, 4, 8, "batch"), input_channels(model.detector)
    return InputSpec.image(images.height, images.width, channels=channels, batch=batch)


def decoder_params(head: Any) -> dict[str, Any]:
    """The parameters of decoder ``dense`` for a head, as plain values; thresholds are those of its config.

    ``conf`` is the decoder's default, or ``score_thr`` if that is higher: mmdet's is low, for mAP.
    """
    kind, test = type(head).__name__, head.test_cfg or {}
    generator: Any = head.prior_generator
    coder: Any = getattr(head, "bbox_coder", None)
    params: dict[str, Any] = {
        "iou": float((test.get("nms") or {}).get("iou_threshold", 0.5)),
        "max_det": int(test.get("max_per_img", 300)),
        "conf": max(DenseParams.conf, float(test.get("score_thr", 0.0))),
        "nms_pre": int(test.get("nms_pre", -1)),
        "agnostic": bool((test.get("nms") or {}).get("class_agnostic", False)),
        "best_class": kind == "YOLOXHead",
        "strides": [int(_first(stride)) for stride in generator.strides],
        "coding": {"GFLHead": "bins", "YOLOXHead": "center"}.get(kind, "delta"),
    }
    if hasattr(generator, "base_anchors"):
        params["anchors"] = [anchors.tolist() for anchors in generator.base_anchors]
    else:
        params["offset"] = float(generator.offset)
    if params["coding"] == "delta":
        if type(coder).__name__ == "DistancePointBBoxCoder":
            params["coding"] = "distance"
        elif type(coder).__name__ == "DeltaXYWHBBoxCoder" and not coder.add_ctr_clamp:
            params["means"], params["stds"] = list(map(float, coder.means)), list(map(float, coder.stds))
        else:
            raise ModelError(f"{kind} encodes its boxes with {type(coder).__name__}, which is not supported.")
    return params


def _first(stride: Any) -> Any:
    return stride[0] if isinstance(stride, (tuple, list)) else stride


def dense_patches(spec: ModelSpec) -> list[Patch]:
    """For a fixed size, the number of candidates is computed before the export."""
    if spec.dynamic_size:
        return []
    return [
        SwitchPatch(
            target="adaptrt_mmdet.dense_family:DenseDetector",
            values={"static": True},
            reason="batch and cells are read from shapes to list the candidates",
            requires="mmdet>=3.3,<3.4",
            tested="mmdet>=3.3,<=3.3.0",
        )
    ]
