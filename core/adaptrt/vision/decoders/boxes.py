"""Boxes that the graph has decoded already (DETR and its like).

Three outputs, named so or in this order: ``scores`` [B, Q], ``labels`` int [B, Q], ``boxes`` [B, Q, 4] x1 y1 x2 y2 in
input pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt.errors import ModelError
from adaptrt.predictions import Decoder, Detections, ImageMeta
from adaptrt.vision.boxes import boxes_to_original
from adaptrt.vision.decoders.outputs import check_batch
from adaptrt.vision.decoders.params import check_count, check_fraction, class_filter
from adaptrt.vision.nms import nms_by_class

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from adaptrt.specs import ModelSpec

_OUTPUTS = ("scores", "labels", "boxes")


@dataclass(frozen=True)
class BoxesParams:
    """What is kept of the boxes that the model gives.

    - ``conf``: the lowest score a detection may have (exclusive), 0 to 1
    - ``max_det``: the most detections in one image
    - ``nms``: boxes of one class that overlap a better one by more than this are dropped, 0 to 1; none if not given
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
    outputs: Mapping[str, NDArray[Any]], metas: Sequence[ImageMeta], spec: ModelSpec, params: BoxesParams
) -> list[Detections]:
    scores, labels, boxes = _read(outputs, metas)
    if spec.labels and labels.size and not 0 <= labels.min() <= labels.max() < len(spec.labels):
        raise ModelError(
            f"The model gives class {labels.max()}, the spec has {len(spec.labels)} labels.",
            hint="Give one label for each class.",
        )
    return [_decode_one(*sample, spec.labels, params) for sample in zip(scores, labels, boxes, metas, strict=True)]


def _decode_one(
    scores: NDArray[np.float32],
    labels: NDArray[np.int64],
    boxes: NDArray[np.float32],
    meta: ImageMeta,
    names: tuple[str, ...],
    params: BoxesParams,
) -> Detections:
    keep = scores > params.conf
    wanted = class_filter(params.classes, names)
    if wanted is not None:
        keep &= np.isin(labels, wanted)
    scores, labels, boxes = scores[keep], labels[keep], boxes[keep]
    if params.nms is None:
        kept = np.argsort(-scores, kind="stable")[: params.max_det]
    else:
        kept = nms_by_class(boxes, scores, labels, iou=params.nms, max_det=params.max_det, agnostic=params.agnostic)
    return Detections(boxes=boxes_to_original(boxes[kept], meta), scores=scores[kept], labels=labels[kept], names=names)


def _read(
    outputs: Mapping[str, NDArray[Any]], metas: Sequence[ImageMeta]
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    names = _OUTPUTS if all(name in outputs for name in _OUTPUTS) else tuple(outputs)
    if len(names) != 3:
        raise ModelError(
            f"Decoder 'boxes' reads scores, labels and boxes; this model gives {', '.join(outputs) or 'nothing'}."
        )
    for name in names:
        check_batch(name, outputs[name], metas)
    scores, labels, boxes = (outputs[name] for name in names)
    if scores.ndim != 2 or labels.shape != scores.shape or boxes.shape != (*scores.shape, 4):
        shapes = ", ".join(f"{name} {list(outputs[name].shape)}" for name in names)
        raise ModelError(f"Decoder 'boxes' reads scores [B, Q], labels [B, Q] and boxes [B, Q, 4]; got {shapes}.")
    if labels.dtype.kind not in "iu":
        raise ModelError(f"Output {names[1]!r} holds class numbers, so it is an integer, not {labels.dtype}.")
    return scores.astype(np.float32, copy=False), labels.astype(np.int64), boxes.astype(np.float32, copy=False)


decoder = Decoder("boxes", BoxesParams, decode)
