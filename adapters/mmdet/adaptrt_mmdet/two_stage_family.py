"""Which two-stage detectors are supported, and their specs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from adaptrt import (
    Conversion,
    DecoderSpec,
    Dim,
    InputSpec,
    ModelError,
    ModelSpec,
    NmsRequest,
    OutputGroup,
    OutputSpec,
    UsageError,
    did_you_mean,
)
from adaptrt.vision.decoders.params import DetectionParams
from adaptrt_mmdet.dense_family import STRIDE
from adaptrt_mmdet.image_region import recognizable_padding
from adaptrt_mmdet.images import input_channels, read_test_images
from adaptrt_mmdet.labels import class_names
from adaptrt_mmdet.options import OneAndTwoStageOptions
from adaptrt_mmdet.sources import Source, warn_if_random
from adaptrt_mmdet.two_stage import TwoStageDetector

PARTS = {
    "RoI head": ("StandardRoIHead", "CascadeRoIHead", "DynamicRoIHead", "PISARoIHead"),
    "box head": ("BBoxHead", "ConvFCBBoxHead", "Shared2FCBBoxHead", "Shared4Conv1FCBBoxHead"),
    "mask head": ("FCNMaskHead",),
    "RoI extractor": ("SingleRoIExtractor",),
    "RoI layer": ("RoIAlign",),
    "RPN": ("RPNHead",),
    "prior generator": ("AnchorGenerator",),
    "box coder": ("DeltaXYWHBBoxCoder",),
}
"""What is supported; other parts compute something else, and are refused by name."""


def is_two_stage(detector: Any) -> bool:
    """Whether a detector has proposals: an RoI head, or an RPN alone."""
    return getattr(detector, "roi_head", None) is not None or type(detector).__name__ == "RPN"


def wrap_two_stage(source: Source, options: OneAndTwoStageOptions, nms: NmsRequest | None = None) -> TwoStageDetector:
    """Wrap the detector; unsupported parts raise an error that names them.

    ``nms``: that of ``--nms``, whose rounds, candidates and schema hold for the NMS that the network has anyway; options win.
    """
    if options.raw:
        raise UsageError(
            "raw=true is not supported for a two-stage detector: its second stage needs decoded boxes.",
            hint="Omit it: the outputs are detections.",
        )
    detector = source.detector
    if getattr(detector, "roi_head", None) is not None and getattr(detector, "rpn_head", None) is None:
        raise ModelError(
            f"{type(detector).__name__} is not supported: it has no RPN, and reads its proposals from a file.",
            hint="Supported: detectors that compute their proposals, such as Faster R-CNN.",
        )
    semantic = getattr(detector, "semantic_head", None)
    if semantic is not None:
        fusion = type(getattr(detector, "panoptic_fusion_head", None)).__name__
        raise ModelError(
            f"{type(detector).__name__} is not supported: missing is semantic segmentation ({type(semantic).__name__}), which "
            f"{fusion} joins with the objects to a panoptic map.",
            hint="Supported: detectors that return boxes, or boxes and masks.",
        )
    nms = nms or NmsRequest()
    model = TwoStageDetector(
        source,
        rounds=options.nms_rounds or nms.rounds,
        candidates=options.nms_candidates or nms.candidates,
        converged=nms.schema == "converged",
        padded=recognizable_padding(read_test_images(source.config, stride=STRIDE)),
    )
    for part, module in _parts(model):
        name = type(module).__name__
        if name not in PARTS[part]:
            raise ModelError(
                f"{type(detector).__name__} with {name} ({part}) is not supported.",
                hint=f"{did_you_mean(name, PARTS[part])} Supported: {', '.join(PARTS[part])}.",
            )
    tests = [model.rpn.test_cfg] + ([] if model.roi_head is None else [model.roi_head.test_cfg])
    for place, test in zip(("rpn", "rcnn"), tests, strict=False):
        kind = (test.get("nms") or {}).get("type", "nms")
        if kind != "nms":
            raise ModelError(
                f"The config requests {kind} ({place}).",
                hint=f"Only plain NMS is supported: --set cfg.model.test_cfg.{place}.nms.type=nms",
            )
    return model


def _parts(model: TwoStageDetector) -> Iterator[tuple[str, Any]]:
    """Outer parts first: what is in an unsupported part may be missing."""
    rpn = model.rpn
    yield "RPN", rpn
    yield "prior generator", rpn.prior_generator
    yield "box coder", rpn.bbox_coder
    if model.roi_head is None:
        return
    yield "RoI head", model.roi_head
    for kind, stages in (("box head", model.stages), ("mask head", model.mask_stages)):
        for extractor, head in stages:
            yield "RoI extractor", extractor
            yield kind, head
            for layer in getattr(extractor, "roi_layers", ()):
                yield "RoI layer", layer
            if kind == "box head":
                yield "box coder", head.bbox_coder


def two_stage_spec(ctx: Conversion, model: TwoStageDetector) -> ModelSpec:
    warn_if_random(ctx, model.source)
    images = read_test_images(model.source.config, stride=STRIDE)
    batch = Dim(1, 1, 4, "batch")
    channels = input_channels(model.detector)
    test = model.rpn.test_cfg if model.roi_head is None else model.roi_head.test_cfg
    conf = 0.0 if model.roi_head is None else max(DetectionParams.conf, float(test.score_thr))
    params: dict[str, Any] = {"conf": conf, "max_det": int(test.max_per_img)}
    outputs = [
        OutputSpec("num_dets", dtype="int32"),
        OutputSpec("det_boxes", groups=(OutputGroup("boxes", "pixels"),)),
        OutputSpec("det_scores", groups=(OutputGroup("scores", "scores"),)),
        OutputSpec("det_classes", dtype="int32"),
    ]
    if model.converged:
        outputs.append(OutputSpec("nms_converged", dtype="int32"))
    if model.mask_stages:
        outputs.append(OutputSpec("det_masks", groups=(OutputGroup("masks", "scores"),)))
        params["mask_threshold"] = float(test.mask_thr_binary)
    spec = ModelSpec(
        inputs=(InputSpec.image(images.height, images.width, channels=channels, batch=batch),),
        outputs=tuple(outputs),
        task="segment" if model.mask_stages else "detect",
        image=images.transform("letterbox" if images.keep_ratio else "stretch", stride=STRIDE),
        decoder=DecoderSpec("box_masks" if model.mask_stages else "efficient_nms", params),
        labels=class_names(model.source.config, model.source.checkpoint, class_count(model.detector)),
        exporter="torchscript",
    )
    resolved, _ = ctx.request.shapes.apply(spec)
    if resolved.dynamic_size:
        raise UsageError(
            "A two-stage detector requires a fixed height and width: the number of its proposals depends on them.",
            hint="Make only the batch dynamic (--imgsz HxW), and run a conversion for each size.",
        )
    final = (
        "nms_converged is 0 for images that need more rounds."
        if model.converged
        else f"exact for chains of up to {model.rounds + 1} boxes in which each box overlaps the next; without nms_converged, "
        "the outputs do not show whether an image has a longer chain."
    )
    ctx.notes.append(
        f"NMS in the graph: Cluster-NMS in {model.rounds} rounds, for proposals and for the {model.candidates} "
        f"highest-scoring detections; {final}"
    )
    return spec


def class_count(detector: Any) -> int:
    """Number of classes that a detector finds."""
    roi_head = getattr(detector, "roi_head", None)
    if roi_head is None:
        head = getattr(detector, "bbox_head", None) or detector.panoptic_head
        return int(head.num_classes)
    heads = roi_head.bbox_head
    return int((heads[-1] if hasattr(heads, "__len__") else heads).num_classes)
