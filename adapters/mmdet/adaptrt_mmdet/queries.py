"""Decoder ``queries``: sigmoid scores of every class for each query; mmdet's best pairs of query and class.

Two outputs, named so or in this order: ``scores`` [B, Q, C], ``boxes`` [B, Q, 4] x1 y1 x2 y2 in input pixels. Needs
numpy only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt import Decoder, Detections, ImageMeta, ModelError, ModelSpec
from adaptrt.vision.boxes import boxes_to_original
from adaptrt.vision.decoders.params import check_count, check_fraction, class_filter
from adaptrt.vision.nms import nms_by_class

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class QueriesParams:
    """What is kept.

    - ``conf``: the lowest score a detection may have (exclusive), 0 to 1
    - ``max_det``: how many pairs of query and class are looked at, the best first (mmdet's ``max_per_img``)
    - ``nms``: boxes of one class that overlap a better one by more than this are dropped; none if not given
    - ``agnostic``: with ``nms``, boxes of different classes suppress each other too
    - ``classes``: only these classes, by number or label; all if not given
    """

    conf: float = 0.25
    max_det: int = 300
    nms: float | None = None
    agnostic: bool = False
    classes: tuple[int | str, ...] | None = None

    def __post_init__(self) -> None:
        check_fraction("conf", self.conf)
        check_count("max_det", self.max_det)
        if self.nms is not None:
            check_fraction("nms", self.nms)


def decode(
    outputs: Mapping[str, NDArray[Any]], metas: Sequence[ImageMeta], spec: ModelSpec, params: QueriesParams
) -> list[Detections]:
    names = ("scores", "boxes") if "scores" in outputs and "boxes" in outputs else tuple(outputs)
    if len(names) != 2:
        raise ModelError(
            f"Decoder 'queries' reads scores and boxes; this model gives {', '.join(outputs) or 'nothing'}."
        )
    scores, boxes = (outputs[name] for name in names)
    if scores.ndim != 3 or boxes.shape != (*scores.shape[:2], 4) or len(scores) != len(metas):
        shapes = f"scores {list(scores.shape)}, boxes {list(boxes.shape)}, {len(metas)} images"
        raise ModelError(f"Decoder 'queries' reads scores [B, Q, C] and boxes [B, Q, 4]; got {shapes}.")
    return [_decode_one(*sample, spec.labels, params) for sample in zip(scores, boxes, metas, strict=True)]


def _decode_one(
    scores: NDArray[np.float32],
    boxes: NDArray[np.float32],
    meta: ImageMeta,
    names: tuple[str, ...],
    params: QueriesParams,
) -> Detections:
    pairs = scores.ravel()
    best = np.argsort(-pairs, kind="stable")[: params.max_det]
    best = best[pairs[best] > params.conf]
    queries, labels = np.divmod(best, scores.shape[1])
    wanted = class_filter(params.classes, names)
    if wanted is not None:
        keep = np.isin(labels, wanted)
        best, queries, labels = best[keep], queries[keep], labels[keep]
    found, confidence = boxes[queries].astype(np.float32, copy=False), pairs[best].astype(np.float32, copy=False)
    labels = labels.astype(np.int64)
    if params.nms is not None:
        kept = nms_by_class(found, confidence, labels, iou=params.nms, max_det=params.max_det, agnostic=params.agnostic)
        found, confidence, labels = found[kept], confidence[kept], labels[kept]
    return Detections(boxes_to_original(found, meta), confidence, labels, names)


decoder = Decoder("queries", QueriesParams, decode)
