"""Instance segmentation of a graph that ends in NMS, as ``convert --nms`` writes it.

The outputs of ``efficient_nms``; ``det_coefficients`` [B, M, nm], the weights of the prototypes for each object; and the prototypes
[B, nm, h, w], an output of the network. Masks are those of ``yolo_segment``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from adaptrt.errors import ModelError
from adaptrt.specs.decoders import Decoder
from adaptrt.vision.decoders import efficient_nms, yolo_segment
from adaptrt.vision.decoders.candidates import Candidates, FromCandidates
from adaptrt.vision.decoders.efficient_nms import EfficientNmsParams, rows_like
from adaptrt.vision.decoders.outputs import check_batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adaptrt.predictions import ImageMeta
    from adaptrt.specs import ModelSpec
    from adaptrt.specs.tensors import Arrays

COEFFICIENTS = "det_coefficients"


@dataclass(frozen=True)
class NmsSegmentParams(EfficientNmsParams):
    """Selection of the objects that the graph returns, and how masks are enlarged.

    - ``enlarge``: as for ``yolo_segment``
    """

    enlarge: Literal["logits", "probabilities"] = "logits"


def read(outputs: Arrays, metas: Sequence[ImageMeta], _spec: ModelSpec) -> Arrays:
    found = efficient_nms.read_rows(outputs, metas, "nms_segment")
    coefficients = rows_like(outputs, COEFFICIENTS, "nms_segment", found["scores"])
    for name, prototypes in outputs.items():
        if prototypes.ndim == 4 and prototypes.shape[1] == coefficients.shape[2]:
            check_batch(name, prototypes, metas)
            return {**found, "coefficients": coefficients, "prototypes": prototypes}
    raise ModelError(
        f"Decoder 'nms_segment' expects prototypes [B, {coefficients.shape[2]}, h, w]; this model has {', '.join(outputs)}."
    )


def candidates(outputs: Arrays, meta: ImageMeta, spec: ModelSpec, params: NmsSegmentParams) -> Candidates:
    found = efficient_nms.candidates(outputs, meta, spec, params)
    coefficients = outputs["coefficients"][: len(found)].astype(np.float32, copy=False)
    return Candidates(found.boxes, found.scores, found.labels, {"coefficients": coefficients})


decoder = Decoder(
    "nms_segment",
    NmsSegmentParams,
    FromCandidates(read, candidates, predict=yolo_segment.predict, selected=True, sized=True),
    task="segment",
    problems=efficient_nms.problems,
)
