"""Mask2Former: a fixed number of queries, each with scores and a mask of the whole image; wrapped from image to both."""

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
    UsageError,
)
from adaptrt.vision.decoders.params import DetectionParams
from adaptrt_mmdet.images import input_channels, read_test_images
from adaptrt_mmdet.labels import class_names
from adaptrt_mmdet.query_family import refuse_for_deformable
from adaptrt_mmdet.sources import Source, warn_if_random

STRIDE = 32
HEAD, PIXEL_DECODER, FUSION_HEAD = "Mask2FormerHead", "MSDeformAttnPixelDecoder", "MaskFormerFusionHead"


class MaskQueryDetector(nn.Module):
    """Images float32 [B, 3, H, W] to scores float32 [B, Q, C], without the background, and masks [B, Q, H / 4, W / 4], logits."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.detector: Any = source.detector
        self.source = source

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits, masks = self.detector.panoptic_head(self.detector.extract_feat(images), [])
        return logits[-1].softmax(-1)[..., :-1], masks[-1]


def is_mask_query(detector: Any) -> bool:
    """Whether a detector has queries with masks as in Mask2Former."""
    return type(getattr(detector, "panoptic_head", None)).__name__ == HEAD


def wrap_mask_queries(source: Source, *, raw: bool = False) -> MaskQueryDetector:
    """Wrap the detector; unsupported parts raise an error that names them."""
    detector = source.detector
    if raw:
        raise UsageError(
            "raw=true is not supported for Mask2Former.", hint="Omit it: the outputs are already the masks of the head."
        )
    for part, module, supported in (
        ("pixel decoder", detector.panoptic_head.pixel_decoder, PIXEL_DECODER),
        ("fusion head", detector.panoptic_fusion_head, FUSION_HEAD),
    ):
        name = type(module).__name__
        if name != supported:
            raise ModelError(
                f"{type(detector).__name__} with {name} ({part}) is not supported.", hint=f"Supported: {supported}."
            )
    return MaskQueryDetector(source)


def mask_query_spec(ctx: Conversion, model: MaskQueryDetector) -> ModelSpec:
    warn_if_random(ctx, model.source)
    images = read_test_images(model.source.config, stride=STRIDE)
    head, test = model.detector.panoptic_head, model.detector.test_cfg or {}
    batch, channels = Dim(1, 2, 4, "batch"), input_channels(model.detector)
    most = int(test.get("max_per_image", 100))
    params: dict[str, Any] = {"conf": DetectionParams.conf, "iou": None, "max_det": most, "pairs": most}
    if head.num_stuff_classes:
        params["things"] = int(head.num_things_classes)
        ctx.notes.append("Mask2Former: instances only, as mmdet's instance_on; the panoptic map is not computed.")
    spec = ModelSpec(
        inputs=(InputSpec.image(images.height, images.width, channels=channels, batch=batch),),
        outputs=(
            OutputSpec("scores", groups=(OutputGroup("scores", "scores", rank_sensitive=True),)),
            OutputSpec("masks", groups=(OutputGroup("masks", "logits", rank_sensitive=True),)),
        ),  # a cell whose logit is near 0 enters or leaves the attention of the next layer
        task="segment",
        image=images.transform("letterbox" if images.keep_ratio else "stretch", stride=STRIDE),
        decoder=DecoderSpec("query_masks", params),
        labels=class_names(model.source.config, model.source.checkpoint, int(head.num_classes)),
        exporter="torchscript",
    )
    refuse_for_deformable(ctx, type(model.detector).__name__, spec)
    return spec
