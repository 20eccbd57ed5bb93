"""Decoder ``queries``: sigmoid scores of every class per query; selects the best pairs of query and class, like mmdet.

Two outputs, with these names or in this order: ``scores`` [B, Q, C], ``boxes`` [B, Q, 4] x1 y1 x2 y2 in input pixels.
Requires numpy only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt import Decoder, ImageMeta, ModelError, ModelSpec
from adaptrt.vision.decoders.candidates import Candidates, FromCandidates
from adaptrt.vision.decoders.params import DetectionParams

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class QueriesParams(DetectionParams):
    """Selection of the pairs of query and class.

    - ``iou``: IoU threshold of NMS, 0 to 1; default: no NMS
    - ``max_det``: maximum number of detections per image; mmdet's ``max_per_img``
    - ``agnostic``: with ``iou``, apply NMS across classes instead of within each class
    """

    iou: float | None = None


def read(
    outputs: Mapping[str, NDArray[Any]], metas: Sequence[ImageMeta], _spec: ModelSpec
) -> Mapping[str, NDArray[Any]]:
    names = ("scores", "boxes") if "scores" in outputs and "boxes" in outputs else tuple(outputs)
    if len(names) != 2:
        raise ModelError(
            f"Decoder 'queries' expects scores and boxes; this model has {', '.join(outputs) or 'no outputs'}."
        )
    scores, boxes = (outputs[name] for name in names)
    if scores.ndim != 3 or boxes.shape != (*scores.shape[:2], 4) or len(scores) != len(metas):
        shapes = f"scores {list(scores.shape)}, boxes {list(boxes.shape)}, {len(metas)} images"
        raise ModelError(f"Decoder 'queries' expects scores [B, Q, C] and boxes [B, Q, 4]; got {shapes}.")
    return {"scores": scores, "boxes": boxes}


def candidates(
    outputs: Mapping[str, NDArray[Any]], _meta: ImageMeta, _spec: ModelSpec, params: QueriesParams
) -> Candidates:
    """One candidate per pair of query and class."""
    scores = outputs["scores"]  # [Q, C]
    queries, labels = np.nonzero(scores > params.conf)
    return Candidates(
        outputs["boxes"][queries].astype(np.float32, copy=False),
        scores[queries, labels].astype(np.float32, copy=False),
        labels,
    )


decoder = Decoder("queries", QueriesParams, FromCandidates(read, candidates))
