"""One-stage detectors: the network returns boxes in pixels and scores, and RTMDet-Ins what its masks are made of; raw, the heads' maps
as lists of candidates.
"""

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
)
from adaptrt.vision.decoders.params import DetectionParams
from adaptrt_mmdet.dense_boxes import (
    ANY_SIZE,
    MASK_HEADS,
    OWN,
    best_class,
    boxes_and_scores,
    clips,
    head_problem,
    joined,
)
from adaptrt_mmdet.image_region import recognizable_padding
from adaptrt_mmdet.images import TestImages, input_channels, read_test_images, size_multiple
from adaptrt_mmdet.labels import class_names
from adaptrt_mmdet.query_family import FAMILY as QUERY_FAMILY
from adaptrt_mmdet.sources import Source, warn_if_random
from adaptrt_mmdet.versions import REQUIRES, TESTED

STRIDE = 32
FACTORS = ("FCOSHead", "ATSSHead", "YOLOXHead")
RAW_HEADS = ("RetinaHead", "FCOSHead", "ATSSHead", "GFLHead", "YOLOXHead", "RTMDetHead", "RTMDetSepBNHead")
"""Heads whose raw outputs the decoder ``dense`` reads."""
COMMON_PARTS = ("backbone", "neck", "data_preprocessor")
MISSING = {
    "MaskFormerHead": "the pixel decoder with a transformer encoder (TransformerEncoderPixelDecoder), and masks of queries, which "
    "MaskFormerFusionHead joins to a panoptic map",
    "YOLACTHead": "Fast NMS over all classes with mask coefficients (fast_nms), and prototypes cropped to boxes (YOLACTProtonet)",
    "SOLOHead": "masks of grid cells that are ranked by Matrix NMS (mask_matrix_nms), without boxes",
    "DecoupledSOLOHead": "masks as products of rows and columns of a grid, ranked by Matrix NMS (mask_matrix_nms), without boxes",
    "SOLOV2Head": "mask kernels of grid cells applied to the whole image and ranked by Matrix NMS (mask_matrix_nms), without boxes",
    "CondInstBboxHead": "mask kernels that read positions relative to the size of their level (CondInstMaskHead), enlarged by aligned_bilinear",
    "BoxInstBboxHead": "mask kernels that read positions relative to the size of their level (BoxInstMaskHead), enlarged by aligned_bilinear",
}
"""By the class of the head."""
MASK_OUTPUTS = tuple(OutputSpec(name, groups=(OutputGroup(name, "values"),)) for name in ("kernels", "mask_features"))


class DenseDetector(nn.Module):
    """Images float32 [B, 3, H, W] to boxes float32 [B, N, 4], x1 y1 x2 y2 in pixels, and scores [B, N, C], before NMS.

    ``raw``: logits [B, N, C], encoded boxes [B, N, 4 or 4 bins], and for some heads factors [B, N]. ``padded``: zeros at the bottom
    and right are padding, and boxes are clipped to the image, as mmdet clips them before NMS.
    """

    def __init__(self, source: Source, *, raw: bool = False, padded: bool = False) -> None:
        super().__init__()
        self.detector: Any = source.detector
        self.source = source
        self.raw, self.padded = raw, padded
        self.static = False

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        maps = self.detector.bbox_head(self.detector.extract_feat(images))
        return self.raw_outputs(maps) if self.raw else self.decode(maps, images)

    def decode(self, maps: Any, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return boxes_and_scores(self.detector.bbox_head, maps, images, padded=self.padded, static=self.static)

    def raw_outputs(self, maps: Any) -> tuple[torch.Tensor, ...]:
        head = self.detector.bbox_head
        count = int(getattr(head, "num_base_priors", 1))  # YOLOX has no num_base_priors: it uses points
        widths = (int(head.cls_out_channels), int(maps[1][0].shape[1]) // count, 1)
        outputs = [joined(part, width, static=self.static) for part, width in zip(maps, widths, strict=False)]
        return (*outputs[:2], *(part[..., 0] for part in outputs[2:]))  # squeeze would read the size at run time


class InstanceDetector(DenseDetector):
    """RTMDet-Ins: also the kernels of each candidate's mask [B, N, P], and the features that they read [B, F, h, w]."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        head = self.detector.bbox_head
        scores, boxes, kernels, features = head(self.detector.extract_feat(images))
        width = int(head.num_gen_params)
        return *self.decode((scores, boxes), images), joined(kernels, width, static=self.static), features


def wrap_dense(source: Source, *, raw: bool = False, ends_in_nms: bool = False) -> DenseDetector:
    """Wrap the detector; unsupported parts raise an error that names them.

    ``ends_in_nms``: the graph will end in NMS, before which boxes are clipped to the image where its padding can be recognized.
    """
    kind = type(source.detector).__name__
    if kind in QUERY_FAMILY:
        raise ModelError(f"{kind} belongs to the DETR family.", hint="Use --adapter detr.")
    head = getattr(source.detector, "bbox_head", None)
    name = type(head).__name__
    if head is None or any(getattr(source.detector, part, None) is not None for part in ("roi_head", "mask_head")):
        raise ModelError(
            f"{kind} is not supported: {missing_parts(source.detector)}.",
            hint="Supported: one-stage detectors without masks, RTMDet-Ins, and two-stage detectors.",
        )
    problem = head_problem(head)
    if problem:
        raise ModelError(
            f"{kind} with {name} is not supported: {problem}.",
            hint=f"Supported: heads with mmdet's generic decoding, and {', '.join(OWN)}.",
        )
    if raw and name not in RAW_HEADS:
        raise ModelError(
            f"raw=true is not supported for {name}.",
            hint=f"Omit it: boxes and scores are decoded in the graph. Raw outputs are supported for {', '.join(RAW_HEADS)}.",
        )
    nms = (head.test_cfg or {}).get("nms") or {}
    if nms.get("type", "nms") != "nms":
        raise ModelError(
            f"The config requests {nms['type']}.",
            hint="Only plain NMS is supported: --set cfg.model.test_cfg.nms.type=nms",
        )
    padded = ends_in_nms and clips(head) and recognizable_padding(read_test_images(source.config, stride=STRIDE))
    return (InstanceDetector if name in MASK_HEADS else DenseDetector)(source, raw=raw, padded=padded)


def missing_parts(detector: Any) -> str:
    """What the decoding of a detector needs that is missing here; its heads by name if that is not known."""
    parts = {name: type(part).__name__ for name, part in detector.named_children() if name not in COMMON_PARTS}
    kinds = (type(part).__name__ for part in detector.modules())
    known = next((MISSING[kind] for kind in kinds if kind in MISSING), None)
    named = ", ".join(f"{part} ({name})" for name, part in parts.items())
    return f"missing is {known}" if known else f"the decoding of {named} is missing"


def dense_spec(ctx: Conversion, model: DenseDetector) -> ModelSpec:
    warn_if_random(ctx, model.source)
    stride = size_multiple(model.source.config, STRIDE)
    images = read_test_images(model.source.config, stride=stride)
    head = model.detector.bbox_head
    outputs, decoder = _raw_outputs(head) if model.raw else _decoded_outputs(head)
    masks = isinstance(model, InstanceDetector)
    if masks:
        outputs, decoder = (
            (*outputs, *MASK_OUTPUTS),
            DecoderSpec("dynamic_masks", {**decoder.params, **mask_params(head)}),
        )
    if images.pad is not None and clips(head):  # mmdet's Pad makes the padding part of the image
        decoder = DecoderSpec(decoder.name, {**decoder.params, "padded": True})
    elif model.padded and not model.raw:
        decoder = DecoderSpec(decoder.name, {**decoder.params, "clipped": True})
    return ModelSpec(
        inputs=(_image_input(model, images),),
        outputs=outputs,
        task="segment" if masks else "detect",
        image=images.transform("letterbox" if images.keep_ratio else "stretch", stride=stride),
        decoder=decoder,
        labels=class_names(model.source.config, model.source.checkpoint, int(head.num_classes)),
        exporter="torchscript",
    )


def _decoded_outputs(head: Any) -> tuple[tuple[OutputSpec, ...], DecoderSpec]:
    outputs = (
        OutputSpec("boxes", groups=(OutputGroup("boxes", "pixels"),)),
        OutputSpec("scores", groups=(OutputGroup("scores", "scores"),)),
    )
    params = {**thresholds(head), "best_class": best_class(head), "clip": clips(head)}
    return outputs, DecoderSpec("box_scores", params)


def mask_params(head: Any) -> dict[str, Any]:
    """The parameters of decoder ``dynamic_masks``."""
    return {
        "mask_threshold": float((head.test_cfg or {}).get("mask_thr_binary", 0.5)),
        "strides": [int(_first(stride)) for stride in head.prior_generator.strides],
        "offset": float(head.prior_generator.offset),
        "layers": int(head.num_dyconvs),
        "channels": int(head.dyconv_channels),
    }


def _raw_outputs(head: Any) -> tuple[tuple[OutputSpec, ...], DecoderSpec]:
    outputs = [
        OutputSpec("logits", groups=(OutputGroup("logits", "logits"),)),
        OutputSpec("boxes", groups=(OutputGroup("boxes", "values"),)),
    ]
    if type(head).__name__ in FACTORS:
        outputs.append(OutputSpec("factors", groups=(OutputGroup("factors", "logits"),)))
    return tuple(outputs), DecoderSpec("dense", decoder_params(head))


def _image_input(model: DenseDetector, images: TestImages) -> InputSpec:
    batch, channels = Dim(1, 4, 8, "batch"), input_channels(model.detector)
    return InputSpec.image(images.height, images.width, channels=channels, batch=batch)


def thresholds(head: Any) -> dict[str, Any]:
    """Those of the config.

    ``conf`` is the decoder's default, or ``score_thr`` if that is higher: mmdet's is low, for mAP.
    """
    test = head.test_cfg or {}
    nms = test.get("nms") or {}
    return {
        "iou": float(nms.get("iou_threshold", 0.5)),
        "max_det": int(test.get("max_per_img", 300)),
        "conf": max(DetectionParams.conf, float(test.get("score_thr", 0.0))),
        "agnostic": bool(nms.get("class_agnostic", False)),
        **smallest_box(head),
    }


def smallest_box(head: Any) -> dict[str, float]:
    """``min_size``, unless it is the default: boxes without area are dropped where boxes are clipped."""
    read = type(head).__name__ not in ANY_SIZE
    smallest = float((head.test_cfg or {}).get("min_bbox_size", -1)) if read else -1.0
    return {} if smallest == (0 if clips(head) else -1) else {"min_size": smallest}


def decoder_params(head: Any) -> dict[str, Any]:
    """The parameters of decoder ``dense`` for a head, as plain values."""
    kind, test = type(head).__name__, head.test_cfg or {}
    generator: Any = head.prior_generator
    coder: Any = getattr(head, "bbox_coder", None)
    params: dict[str, Any] = {
        **thresholds(head),
        "nms_pre": int(test.get("nms_pre", -1)),
        "best_class": best_class(head),
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
            reason="batch, cells and the image size are read from shapes to list and decode the candidates",
            requires=REQUIRES,
            tested=TESTED,
        )
    ]
