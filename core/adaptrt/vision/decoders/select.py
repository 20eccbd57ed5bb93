"""Selects candidates by confidence, class, NMS and maximum number, for all decoders."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from adaptrt.vision.nms import CLASS_OFFSET, nms_by_class

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.vision.decoders.candidates import Candidates

Suppress: TypeAlias = "Callable[[Candidates, float, int, bool], NDArray[np.int64]]"


class Selection(NamedTuple):
    """What ``select`` keeps, in this order, all in float32:

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
    """

    conf: float
    iou: float | None = None
    max_det: int = 300
    agnostic: bool = False
    classes: NDArray[np.int64] | None = None
    class_offset: float | None = CLASS_OFFSET
    suppress: Suppress | None = None

    def confident(self, candidates: Candidates) -> NDArray[np.bool_]:
        """Steps 1 and 2: a mask."""
        keep: NDArray[np.bool_] = candidates.scores > self.conf
        if self.classes is not None:
            keep &= np.isin(candidates.labels, self.classes)
        return keep


def select(candidates: Candidates, selection: Selection) -> NDArray[np.int64]:
    """Indices of the candidates to keep, best score first.

    A candidate has one label: a decoder that allows several classes per box returns one candidate per class.
    """
    keep = selection.confident(candidates)
    if np.count_nonzero(keep) == len(keep):
        return _best(candidates, selection)
    indices = keep.nonzero()[0]
    kept: NDArray[np.int64] = indices[_best(candidates.at(indices), selection)]
    return kept


def _best(candidates: Candidates, selection: Selection) -> NDArray[np.int64]:
    """Steps 3 to 5."""
    iou, max_det = selection.iou, selection.max_det
    if iou is None:
        return (-candidates.scores).argsort(kind="stable")[:max_det]
    if selection.suppress is not None:
        return selection.suppress(candidates, iou, max_det, selection.agnostic)
    return nms_by_class(
        candidates.boxes,
        candidates.scores,
        candidates.labels,
        iou=iou,
        max_det=max_det,
        agnostic=selection.agnostic,
        class_offset=selection.class_offset,
    )
