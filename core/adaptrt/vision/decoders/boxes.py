"""Boxes that the graph has already decoded (DETR and similar).

Three outputs, with these names or in this order: ``scores`` [B, Q], ``labels`` int [B, Q], ``boxes`` [B, Q, 4] x1 y1 x2 y2 in
input pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adaptrt.errors import ModelError
from adaptrt.specs.decoders import Decoder
from adaptrt.vision.decoders.candidates import Candidates, FromCandidates
from adaptrt.vision.decoders.outputs import check_batch, require_labels
from adaptrt.vision.decoders.params import UnsuppressedParams

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adaptrt.predictions import ImageMeta
    from adaptrt.specs import ModelSpec
    from adaptrt.specs.tensors import Arrays

_OUTPUTS = ("scores", "labels", "boxes")


def read(outputs: Arrays, metas: Sequence[ImageMeta], spec: ModelSpec) -> Arrays:
    names = _OUTPUTS if all(name in outputs for name in _OUTPUTS) else tuple(outputs)
    if len(names) != 3:
        raise ModelError(
            f"Decoder 'boxes' expects scores, labels and boxes; this model has {', '.join(outputs) or 'no outputs'}."
        )
    for name in names:
        check_batch(name, outputs[name], metas)
    scores, labels, boxes = (outputs[name] for name in names)
    if scores.ndim != 2 or labels.shape != scores.shape or boxes.shape != (*scores.shape, 4):
        shapes = ", ".join(f"{name} {list(outputs[name].shape)}" for name in names)
        raise ModelError(f"Decoder 'boxes' expects scores [B, Q], labels [B, Q] and boxes [B, Q, 4]; got {shapes}.")
    if labels.dtype.kind not in "iu":
        raise ModelError(f"Output {names[1]!r} contains class indices and must be an integer type; got {labels.dtype}.")
    require_labels(labels, spec)
    return {"scores": scores, "labels": labels, "boxes": boxes}


def candidates(outputs: Arrays, _meta: ImageMeta, _spec: ModelSpec, _params: UnsuppressedParams) -> Candidates:
    return Candidates(
        outputs["boxes"].astype(np.float32, copy=False),
        outputs["scores"].astype(np.float32, copy=False),
        outputs["labels"].astype(np.int64, copy=False),
    )


decoder = Decoder("boxes", UnsuppressedParams, FromCandidates(read, candidates))
