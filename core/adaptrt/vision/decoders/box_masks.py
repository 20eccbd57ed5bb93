"""Detections of a graph that ends in NMS, each with a low-resolution mask of its box, as returned by two-stage detectors.

The outputs of ``efficient_nms``, and ``det_masks`` [B, M, h, w]: the probability of the object in each cell of its box. The
masks are resized to their boxes as in mmdet and detectron2: linear interpolation, zero outside the box.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from adaptrt.errors import ModelError
from adaptrt.predictions import Segments
from adaptrt.specs.decoders import Decoder
from adaptrt.vision.decoders import efficient_nms
from adaptrt.vision.decoders.candidates import Candidates, FromCandidates
from adaptrt.vision.decoders.efficient_nms import EfficientNmsParams
from adaptrt.vision.decoders.outputs import check_batch
from adaptrt.vision.decoders.params import check_fraction
from adaptrt.vision.pasted_masks import paste

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from adaptrt.predictions import ImageMeta
    from adaptrt.specs import ModelSpec
    from adaptrt.specs.tensors import Arrays

    Floats = NDArray[np.float32]

MASKS = "det_masks"


@dataclass(frozen=True)
class BoxMasksParams(EfficientNmsParams):
    """Selection of the detections that the graph returns.

    - ``mask_threshold``: minimum probability of a mask's pixels, 0 to 1
    """

    mask_threshold: float = 0.5

    def __post_init__(self) -> None:
        EfficientNmsParams.__post_init__(self)
        check_fraction("mask_threshold", self.mask_threshold)


def read(outputs: Arrays, metas: Sequence[ImageMeta], spec: ModelSpec) -> Arrays:
    found = efficient_nms.read(outputs, metas, spec)
    masks = outputs.get(MASKS)
    if masks is None:
        raise ModelError(f"Decoder 'box_masks' expects an output {MASKS!r}; this model has {', '.join(outputs)}.")
    check_batch(MASKS, masks, metas)
    if masks.ndim != 4 or masks.shape[:2] != found["scores"].shape:
        raise ModelError(f"Decoder 'box_masks' expects {MASKS} [B, M, h, w]; got {list(masks.shape)}.")
    return {**found, "masks": masks}


def candidates(outputs: Arrays, meta: ImageMeta, spec: ModelSpec, params: BoxMasksParams) -> Candidates:
    found = efficient_nms.candidates(outputs, meta, spec, params)
    extras = {"masks": outputs["masks"][: len(found)], "whole": found.boxes}
    return Candidates(found.boxes, found.scores, found.labels, extras)


def mask_threshold(spec: ModelSpec) -> float:
    """That of the spec's decoder, or the default."""
    default = BoxMasksParams.mask_threshold
    return float(spec.decoder.params.get("mask_threshold", default)) if spec.decoder else default


def whole_boxes(found: Candidates, meta: ImageMeta) -> NDArray[np.float32]:
    """Boxes in pixels of the original image, float32 [N, 4]; not clipped, since a mask belongs to its whole box."""
    (scale_y, scale_x), (offset_y, offset_x) = meta.scale, meta.offset
    offset = np.array([offset_x, offset_y, offset_x, offset_y], np.float32)
    scale = np.array([scale_x, scale_y, scale_x, scale_y], np.float32)
    boxes: NDArray[np.float32] = (found.extras["whole"] - offset) / scale
    return boxes


def predict(found: Candidates, _outputs: Arrays, meta: ImageMeta, spec: ModelSpec) -> Segments:
    threshold = mask_threshold(spec)
    masks = tuple(
        paste(mask.astype(np.float32, copy=False), box, meta.original_size, threshold)
        for mask, box in zip(found.extras["masks"], whole_boxes(found, meta), strict=True)
    )
    labels = found.labels.astype(np.int64, copy=False)
    return Segments(found.boxes, found.scores, labels, spec.labels, masks, meta.original_size)


decoder = Decoder(
    "box_masks",
    BoxMasksParams,
    FromCandidates(read, candidates, predict=predict, selected=True),
    task="segment",
    problems=efficient_nms.problems,
)
