"""Outputs of MMDeploy's ``end2end`` files: the graph ends in NMS.

``dets`` [B, N, 5]: x1 y1 x2 y2 in input pixels, score; ``labels`` int [B, N], negative in rows of padding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt.errors import ModelError
from adaptrt.specs.decoders import Decoder
from adaptrt.vision.decoders.candidates import Candidates, FromCandidates
from adaptrt.vision.decoders.efficient_nms import EfficientNmsParams, require_labels
from adaptrt.vision.decoders.outputs import check_batch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from adaptrt.predictions import ImageMeta
    from adaptrt.specs import ModelSpec

OUTPUTS = ("dets", "labels")


def read(
    outputs: Mapping[str, NDArray[Any]], metas: Sequence[ImageMeta], _spec: ModelSpec
) -> Mapping[str, NDArray[Any]]:
    if not set(OUTPUTS) <= set(outputs):
        raise ModelError(f"Decoder 'mmdeploy' expects {' and '.join(OUTPUTS)}; this model has {', '.join(outputs)}.")
    boxes, labels = (outputs[name] for name in OUTPUTS)
    for name in OUTPUTS:
        check_batch(name, outputs[name], metas)
    if boxes.ndim != 3 or boxes.shape[2] != 5 or labels.shape != boxes.shape[:2]:
        raise ModelError(
            f"Decoder 'mmdeploy' expects dets [B, N, 5] and labels [B, N]; got {list(boxes.shape)} and {list(labels.shape)}."
        )
    return {"dets": boxes, "labels": labels}


def candidates(
    outputs: Mapping[str, NDArray[Any]], _meta: ImageMeta, spec: ModelSpec, _params: EfficientNmsParams
) -> Candidates:
    kept = np.flatnonzero(outputs["labels"] >= 0)
    rows, labels = outputs["dets"][kept].astype(np.float32, copy=False), outputs["labels"][kept].astype(np.int64)
    require_labels(labels, spec)
    return Candidates(rows[:, :4], rows[:, 4], labels, {"row": kept})


decoder = Decoder("mmdeploy", EfficientNmsParams, FromCandidates(read, candidates, selected=True))
