"""Selects candidates by confidence, class, NMS and maximum number, for all decoders."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from adaptrt.vision.nms import CLASS_OFFSET, nms_by_class

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.vision.decoders.candidates import Candidates

Suppress: TypeAlias = "Callable[[Candidates, float, int, bool], NDArray[np.int64]]"


def select(
    candidates: Candidates,
    *,
    conf: float,
    iou: float | None = None,
    max_det: int = 300,
    agnostic: bool = False,
    classes: NDArray[np.int64] | None = None,
    class_offset: float | None = CLASS_OFFSET,
    suppress: Suppress | None = None,
) -> NDArray[np.int64]:
    """Indices of the candidates to keep, best score first. In this order, all in float32:

    1. Confidence: ``score > conf``, both as float32. NaN scores are removed.
    2. Classes: the label is one of ``classes``; ``None`` allows all.
    3. Order: by descending score; equal scores keep the order of the candidates.
    4. NMS, unless ``iou`` is ``None``: of the ``MAX_CANDIDATES`` best, in order, a box is removed if a kept one of its
       class (of any class, if ``agnostic``) overlaps it by an IoU of more than ``iou``. The IoU is a float32, ``iou`` a
       double, as in torchvision: a float32 of 0.3 is more than 0.3. Boxes without area overlap nothing.
       Classes are separated by moving the boxes of class ``c`` by ``c * class_offset`` pixels in x and y before
       they are compared, as Ultralytics does; ``None`` takes the largest coordinate of the boxes left by steps 1 and 2,
       plus 1, as mmcv does. The offset costs low bits of the coordinates, so it affects IoUs close to the limit.
    5. At most ``max_det``, the best.

    ``suppress(candidates, iou, max_det, agnostic)`` replaces step 4 and returns indices, best score first.

    A candidate has one label: a decoder that allows several classes per box returns one candidate per class.
    """
    scores, labels = candidates.scores, candidates.labels
    keep = scores > conf
    if classes is not None:
        keep &= np.isin(labels, classes)
    places = np.flatnonzero(keep)
    if len(places) < len(keep):
        scores, labels = scores[places], labels[places]
    if iou is None:
        best = np.argsort(-scores, kind="stable")[:max_det]
    elif suppress is not None:
        best = suppress(candidates.at(places), iou, max_det, agnostic)
    else:
        boxes = candidates.boxes[places] if len(places) < len(keep) else candidates.boxes
        best = nms_by_class(
            boxes, scores, labels, iou=iou, max_det=max_det, agnostic=agnostic, class_offset=class_offset
        )
    kept: NDArray[np.int64] = places[best]
    return kept
