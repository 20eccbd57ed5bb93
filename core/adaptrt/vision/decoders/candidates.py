"""From candidate boxes to detections: best class, class filter, NMS, back to the original image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adaptrt.predictions import Detections, ImageMeta
from adaptrt.vision.boxes import boxes_to_original, corners_from_centers
from adaptrt.vision.decoders.params import DetectionParams, class_filter
from adaptrt.vision.nms import nms_by_class

if TYPE_CHECKING:
    from numpy.typing import NDArray


def detections_from_candidates(
    centers: NDArray[np.float32],
    scores: NDArray[np.float32],
    meta: ImageMeta,
    labels: tuple[str, ...],
    params: DetectionParams,
) -> Detections:
    """``centers``: float32 [n, 4], cx cy w h, input pixels. ``scores``: float32 [n, nc]. Only the best class counts."""
    best = scores.argmax(axis=1) if len(scores) else np.empty(0, np.int64)
    confidence = scores[np.arange(len(scores)), best]
    keep = confidence > params.conf
    wanted = class_filter(params.classes, labels)
    if wanted is not None:
        keep &= np.isin(best, wanted)
    if not keep.all():
        centers, confidence, best = centers[keep], confidence[keep], best[keep]
    boxes = corners_from_centers(centers)
    kept = nms_by_class(boxes, confidence, best, iou=params.iou, max_det=params.max_det, agnostic=params.agnostic)
    return Detections(
        boxes=boxes_to_original(boxes[kept], meta),
        scores=confidence[kept],
        labels=best[kept].astype(np.int64, copy=False),
        names=labels,
    )
