"""DETR and its family: a fixed number of queries, each with a box and scores; wrapped from image to boxes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from adaptrt import (
    Conversion,
    DecoderSpec,
    Dim,
    ImageTransform,
    InputSpec,
    ModelError,
    ModelSpec,
    OutputGroup,
    OutputSpec,
    Tolerance,
    UsageError,
    did_you_mean,
)
from adaptrt_mmdet.images import input_channels, read_test_images
from adaptrt_mmdet.labels import class_names
from adaptrt_mmdet.options import DetrOptions
from adaptrt_mmdet.sources import Source, warn_if_random

STRIDE = 32
MASKED = ("DETR", "ConditionalDETR", "DABDETR")
FAMILY = (*MASKED, "DeformableDETR", "DINO")
DEFORMABLE = ("DeformableDETR", "DINO")


class QueryDetector(nn.Module):
    """A detector of the family from images to final scores, labels and boxes.

    Softmax heads (DETR) give scores float32 [B, Q], labels int32 [B, Q] (the best class), boxes float32 [B, Q, 4]
    (x1 y1 x2 y2, input pixels). Sigmoid heads give the scores of every class, [B, Q, C], and boxes: mmdet takes the
    best pairs of query and class, which the decoder does. ``raw``: logits [B, Q, C(+1)], boxes [B, Q, 4]
    (cx cy w h, relative to the image).
    """

    def __init__(self, source: Source, *, raw: bool = False) -> None:
        super().__init__()
        self.detector: Any = source.detector
        self.source = source
        self.raw = raw
        self.sigmoid = bool(self.detector.bbox_head.loss_cls.use_sigmoid)

    @property
    def kind(self) -> str:
        return type(self.detector).__name__

    def forward(self, images: torch.Tensor, masks: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
        """``images``: float32 [B, 3, H, W], normalized. ``masks``: float32 [B, H, W], 1 where padded."""
        logits, boxes = self.heads(images, masks)
        if self.raw:
            return logits, boxes
        return decode_queries(logits, boxes, image_size(images, masks), sigmoid=self.sigmoid)

    def heads(self, images: torch.Tensor, masks: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits and boxes (cx cy w h, relative to the image) of the last decoder layer, as in mmdet's own predict."""
        features = self.detector.extract_feat(images)
        inputs = self.detector.forward_transformer(features, data_samples(images, masks))
        hidden = inputs["hidden_states"]
        if self.kind == "DETR":
            logits, boxes = self.detector.bbox_head(hidden[-1])
            return logits, boxes
        references = inputs["references"]
        if self.kind in ("ConditionalDETR", "DABDETR"):
            if self.kind == "DABDETR":
                references = references[-1].unsqueeze(0)
            logits, boxes = self.detector.bbox_head(hidden[-1].unsqueeze(0), references)
            return logits.squeeze(0), boxes.squeeze(0)
        logits, boxes = self.detector.bbox_head(hidden, references)
        return logits[-1], boxes[-1]


def data_samples(images: torch.Tensor, masks: torch.Tensor | None) -> list[Any]:
    """The data samples that mmdet requires: the size of the tensor, and of the image in it.

    Without masks one sample is enough: mmdet only checks whether every image fills the tensor.
    """
    shape = (images.shape[2], images.shape[3])
    if masks is None:
        return [SimpleNamespace(batch_input_shape=shape, img_shape=shape)]
    heights, widths = (masks[:, :, 0] == 0).sum(1), (masks[:, 0] == 0).sum(1)
    return [
        SimpleNamespace(batch_input_shape=shape, img_shape=(int(height), int(width)))
        for height, width in zip(heights, widths, strict=True)
    ]


def image_size(images: torch.Tensor, masks: torch.Tensor | None) -> torch.Tensor:
    """Width, height, width, height of the images, in pixels: float32 [1, 1, 4], or [B, 1, 4] where masked."""
    if masks is None:
        height, width = images.shape[2], images.shape[3]
        return torch.tensor([width, height, width, height], dtype=torch.float32).view(1, 1, 4)
    valid = 1 - masks
    rows, columns = valid[:, :, 0].sum(1), valid[:, 0].sum(1)
    return torch.stack([columns, rows, columns, rows], -1).unsqueeze(1)


def decode_queries(
    logits: torch.Tensor, boxes: torch.Tensor, size: torch.Tensor, *, sigmoid: bool
) -> tuple[torch.Tensor, ...]:
    center, half = boxes[..., :2], boxes[..., 2:] * 0.5
    corners = torch.cat([center - half, center + half], -1) * size
    if sigmoid:
        return logits.sigmoid(), corners
    scores, labels = logits.softmax(-1)[..., :-1].max(-1)  # the last class is the background
    return scores, labels.to(torch.int32), corners


def wrap(source: Source, options: DetrOptions) -> QueryDetector:
    """Wrap the detector; models outside the family raise an error."""
    kind = type(source.detector).__name__
    if kind not in FAMILY:
        raise ModelError(
            f"{kind} is not a supported model of the DETR family.",
            hint=f"{did_you_mean(kind, FAMILY)} One-stage detectors: --adapter mmdet.",
        )
    if options.padding == "mask" and kind not in MASKED:
        raise UsageError(f"padding=mask is not supported for {kind}.", hint=f"It is supported for {', '.join(MASKED)}.")
    return QueryDetector(source, raw=options.raw)


def query_spec(ctx: Conversion, model: QueryDetector) -> ModelSpec:
    """The spec of a wrapped detector; adds a note on how images are resized to the report."""
    options: DetrOptions = ctx.options
    warn_if_random(ctx, model.source)
    images = read_test_images(model.source.config, stride=STRIDE)
    masked = options.padding == "mask"
    ctx.notes.append(
        "Images keep their aspect ratio; a second input, masks, marks the padding pixels."
        if masked
        else "Images are resized to the full input size without keeping their aspect ratio: "
        "keeping it would require padding, whose mask mmdet drops on export. Alternative: --set padding=mask."
    )
    batch = Dim(1, 4, 8, "batch")
    image = InputSpec.image(images.height, images.width, channels=input_channels(model.detector), batch=batch)
    inputs = [image]
    if masked:
        inputs.append(mask_input(ctx, image, images.transform("letterbox", stride=STRIDE)))
    classes = int(model.detector.bbox_head.num_classes)
    outputs, decoder = _outputs(model, _shortest_side(ctx, image))
    spec = ModelSpec(
        inputs=tuple(inputs),
        outputs=outputs,
        task="values" if options.raw else "detect",
        image=images.transform("letterbox" if masked else "stretch", stride=STRIDE),
        decoder=decoder,
        labels=class_names(model.source.config, model.source.checkpoint, classes),
        adapter="detr" if masked else None,
        exporter="torchscript",
    )
    if model.kind in DEFORMABLE:
        refuse_for_deformable(ctx, model.kind, spec)
    return spec


def refuse_for_deformable(ctx: Conversion, kind: str, spec: ModelSpec) -> None:
    """Raise a ``UsageError`` early for options that deformable attention does not support."""
    if ctx.request.exporter == "dynamo":
        raise UsageError(
            f"{kind} requires the TorchScript exporter: mmdet reads the sizes of its feature maps with "
            "torch._shape_as_tensor, which torch.export cannot trace.",
            hint="Remove --exporter, or use --exporter torchscript.",
        )
    resolved, _ = ctx.request.shapes.apply(spec)
    if resolved.dynamic_size:
        raise UsageError(
            f"{kind} requires a fixed height and width: mmcv splits its feature maps by sizes that tracing makes constant.",
            hint="Make only the batch dynamic (--imgsz HxW), and run a conversion for each size.",
        )


def mask_input(ctx: Conversion, image: InputSpec, transform: ImageTransform) -> InputSpec:
    """``masks``, float32 [B, H, W], with the axes of the image input."""
    alone = ModelSpec(inputs=(image,), image=transform)
    resolved, _ = ctx.request.shapes.apply(alone)
    return InputSpec("masks", tuple((shape[0], *shape[2:]) for shape in resolved.inputs[0].profiles))


def _shortest_side(ctx: Conversion, image: InputSpec) -> int:
    """The shortest image side in pixels, to convert a normalized tolerance."""
    sizes = ctx.request.shapes.imgsz
    return min(sizes) if sizes else min(dim.min for dim in image.dims[-2:])


def _outputs(model: QueryDetector, side: int) -> tuple[tuple[OutputSpec, ...], DecoderSpec]:
    exact = "1e-4 of a side: too small to affect an IoU"
    pixels = {"fp32": Tolerance(1e-4 * side, reason=exact)}
    ranked = bool(getattr(model.detector, "as_two_stage", False))  # queries in the order of the encoder's scores
    if model.raw:
        raw_boxes = OutputGroup(
            "boxes", "values", tolerances={"fp32": Tolerance(1e-4, reason=exact)}, rank_sensitive=ranked
        )
        return (
            OutputSpec("logits", groups=(OutputGroup("logits", "logits", rank_sensitive=ranked),)),
            OutputSpec("boxes", groups=(raw_boxes,)),
        ), DecoderSpec("raw")
    scores = OutputSpec("scores", groups=(OutputGroup("scores", "scores", rank_sensitive=ranked),))
    boxes = OutputSpec("boxes", groups=(OutputGroup("boxes", "pixels", tolerances=pixels, rank_sensitive=ranked),))
    if model.sigmoid:
        limit = int(model.detector.bbox_head.test_cfg.get("max_per_img", 100))
        return (scores, boxes), DecoderSpec("queries", {"max_det": limit})
    ties = Tolerance(
        float(model.detector.bbox_head.num_classes),
        reason="two equally likely classes may swap; link 5 compares the detections",
    )
    same = Tolerance(0.0, reason="the same class")
    labels = OutputGroup("labels", "values", tolerances={"fp32": same, "*": ties})
    return (scores, OutputSpec("labels", dtype="int32", groups=(labels,)), boxes), DecoderSpec("boxes")
