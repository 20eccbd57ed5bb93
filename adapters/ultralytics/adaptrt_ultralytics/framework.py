"""Predictions by Ultralytics' own predictors, which link 0 compares with."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt import Classification, Detections, Mask, ModelSpec, Poses, RotatedDetections, Segments
from adaptrt.vision.images import bgr_pixels, frameworks_read
from adaptrt_ultralytics.heads import is_end_to_end

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from adaptrt import Conversion
    from adaptrt_ultralytics.new_family import DecodedOutput


def scales_each_axis() -> bool:
    """Whether this Ultralytics scales boxes back by the factor of each axis, as the letterbox rounded it."""
    import ultralytics

    return tuple(int(part) for part in re.findall(r"\d+", ultralytics.__version__)[:3]) >= (8, 4, 174)


def warn_of_scaling(ctx: Conversion, image: Path) -> None:
    """Warn if Ultralytics' own boxes are inexact on this image."""
    import ultralytics

    from adaptrt.vision.images import read_image

    if scales_each_axis():
        return
    height, width = read_image(image, None).shape[:2]
    if height != width:
        ctx.warn(
            f"ultralytics {ultralytics.__version__} scales boxes back with one factor for both axes: they are up to a pixel off "
            f"on {image.name}, which is not square, and link 0 may fail. Use ultralytics 8.4.174 or later, or a square image."
        )


def ultralytics_predictions(model: DecodedOutput, image: Path, spec: ModelSpec) -> Any:
    """Ultralytics' own ``predict`` with this network: its transform, decoding and NMS, with the parameters of the spec.

    ``model`` must be a separate instance: Ultralytics fuses and modifies it.
    """
    ends = is_end_to_end(model.network.model[-1])
    predictor = _predictor(spec)(overrides={**_overrides(spec), **({"nms": False} if ends else {})})
    predictor.setup_model(model=model.network, verbose=False)
    channels = spec.image_channels
    source: Any = str(image) if frameworks_read(image, channels) else bgr_pixels(image, channels)
    return converted(next(iter(predictor(source=source, stream=True))), spec)


def _predictor(spec: ModelSpec) -> Any:
    from ultralytics.models.rtdetr import RTDETRPredictor
    from ultralytics.models.yolo.classify import ClassificationPredictor
    from ultralytics.models.yolo.detect import DetectionPredictor
    from ultralytics.models.yolo.obb import OBBPredictor
    from ultralytics.models.yolo.pose import PosePredictor
    from ultralytics.models.yolo.segment import SegmentationPredictor

    if spec.decoder is not None and spec.decoder.name == "rtdetr":
        return RTDETRPredictor
    return {
        "segment": SegmentationPredictor,
        "pose": PosePredictor,
        "obb": OBBPredictor,
        "classify": ClassificationPredictor,
    }.get(spec.task, DetectionPredictor)


def _overrides(spec: ModelSpec) -> dict[str, Any]:
    params = spec.decoder.params if spec.decoder else {}
    iou = params.get("iou", 0.7)
    return {
        "imgsz": list(spec.image_size),
        "rect": False,
        "conf": params.get("conf", 0.25),
        "iou": 1.0 if iou is None else iou,  # no IoU is above 1
        "max_det": params.get("max_det", 300),
        "agnostic_nms": params.get("agnostic", False),
        "classes": _class_numbers(params.get("classes"), spec.labels),
        "retina_masks": True,  # masks of the original image's size
        "verbose": False,
        "save": False,
        "device": "cpu",
        "mode": "predict",
    }


def converted(result: Any, spec: ModelSpec) -> Any:
    """Convert Ultralytics' ``Results`` for one image to the prediction of the spec's task."""
    names = tuple(result.names[index] for index in sorted(result.names))
    if spec.task == "classify":
        scores = result.probs.cpu().numpy().data.astype(np.float32)
        best = np.argsort(-scores, kind="stable")[: (spec.decoder.params if spec.decoder else {}).get("top_k", 5)]
        return Classification(scores[best], best.astype(np.int64), names)
    if spec.task == "obb":
        found = result.obb.cpu().numpy()
        rotated = np.asarray(found.xywhr, np.float32)
        scores, labels = np.asarray(found.conf, np.float32), np.asarray(found.cls, np.int64)
        height, width = result.orig_shape
        corners = np.asarray(found.xyxy, np.float32)
        return RotatedDetections(np.clip(corners, 0, [width, height] * 2), scores, labels, names, rotated)
    found = result.boxes.cpu().numpy()
    height, width = result.orig_shape
    corners = np.asarray(found.xyxy, np.float32)  # RT-DETR's predictor does not clip them to the image, the others do
    boxes, scores = np.clip(corners, 0, [width, height] * 2).astype(np.float32), np.asarray(found.conf, np.float32)
    labels = np.asarray(found.cls, np.int64)
    if spec.task == "segment":
        masks = [] if result.masks is None else result.masks.data.cpu().numpy().astype(bool)
        return Segments(boxes, scores, labels, names, tuple(map(cropped_mask, masks)), tuple(result.orig_shape))
    if spec.task == "pose":
        given = np.asarray(result.keypoints.data.cpu(), np.float32).reshape(
            len(boxes), -1, result.keypoints.data.shape[-1]
        )
        points = np.ones((*given.shape[:2], 3), np.float32)
        points[..., : given.shape[2]] = given
        return Poses(boxes, scores, labels, names, points)
    return Detections(boxes, scores, labels, names)


def cropped_mask(mask: Any) -> Mask:
    """A mask of the whole image, bool [H, W], as the bitmap of its extent."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return Mask(np.zeros((0, 0), np.bool_), 0, 0)
    top, left = int(rows[0]), int(columns[0])
    return Mask(mask[top : rows[-1] + 1, left : columns[-1] + 1], left, top)


def _class_numbers(classes: Sequence[int | str] | None, labels: Sequence[str]) -> list[int] | None:
    """Class indices, the only form that Ultralytics accepts."""
    return None if classes is None else [labels.index(one) if one in labels else int(one) for one in classes]
