"""Outputs of MMDeploy's ``end2end`` files for instance segmentation.

Those of ``mmdeploy``, and ``masks`` [B, N, h, w]: probabilities, small ones of each box, or of the whole input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adaptrt.errors import ModelError
from adaptrt.predictions import Mask, Segments
from adaptrt.specs.decoders import Decoder
from adaptrt.vision.decoders import mmdeploy
from adaptrt.vision.decoders.box_masks import BoxMasksParams, mask_threshold, whole_boxes
from adaptrt.vision.decoders.candidates import Candidates, FromCandidates
from adaptrt.vision.decoders.outputs import check_batch
from adaptrt.vision.pasted_masks import paste

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from adaptrt.predictions import ImageMeta
    from adaptrt.specs import ModelSpec
    from adaptrt.specs.tensors import Arrays

MASKS = "masks"


def read(outputs: Arrays, metas: Sequence[ImageMeta], spec: ModelSpec) -> Arrays:
    found, masks = mmdeploy.read(outputs, metas, spec), outputs.get(MASKS)
    if masks is None:
        raise ModelError(f"Decoder 'mmdeploy_masks' expects an output 'masks'; this model has {', '.join(outputs)}.")
    check_batch(MASKS, masks, metas)
    if masks.ndim != 4 or masks.shape[:2] != found["labels"].shape:
        raise ModelError(f"Decoder 'mmdeploy_masks' expects masks [B, N, h, w]; got {list(masks.shape)}.")
    return {**found, "masks": masks}


def candidates(outputs: Arrays, meta: ImageMeta, spec: ModelSpec, params: BoxMasksParams) -> Candidates:
    found = mmdeploy.candidates(outputs, meta, spec, params)
    extras = {"masks": outputs["masks"][found.extras["row"]], "whole": found.boxes}
    return Candidates(found.boxes, found.scores, found.labels, extras)


def predict(found: Candidates, _outputs: Arrays, meta: ImageMeta, spec: ModelSpec) -> Segments:
    threshold = mask_threshold(spec)
    (scale_y, scale_x), (offset_y, offset_x) = meta.scale, meta.offset
    height, width = meta.original_size
    boxes = whole_boxes(found, meta)
    whole = np.array([-offset_x / scale_x, -offset_y / scale_y, 0, 0], np.float32)
    whole[2:] = whole[:2] + np.array([meta.input_size[1] / scale_x, meta.input_size[0] / scale_y], np.float32)
    masks = []
    for mask, box, seen in zip(found.extras["masks"], boxes, found.boxes, strict=True):
        of_input = tuple(mask.shape) == tuple(meta.input_size)
        pasted = paste(mask.astype(np.float32), whole if of_input else box, (height, width), threshold)
        masks.append(_cut(pasted, seen) if of_input else pasted)
    labels = found.labels.astype(np.int64, copy=False)
    return Segments(found.boxes, found.scores, labels, spec.labels, tuple(masks), (height, width))


def _cut(mask: Mask, box: NDArray[np.float32]) -> Mask:
    """The part of a mask inside of a box of the same image."""
    left, top = (max(int(side), 0) for side in box[:2])
    right, bottom = (int(np.ceil(side)) for side in box[2:])
    part = mask.bitmap[max(top - mask.top, 0) : bottom - mask.top, max(left - mask.left, 0) : right - mask.left]
    return Mask(part, max(left, mask.left), max(top, mask.top))


decoder = Decoder(
    "mmdeploy_masks",
    BoxMasksParams,
    FromCandidates(read, candidates, predict=predict, selected=True),
    task="segment",
)
