"""Outputs of MMDeploy's ``end2end`` files: the graph ends in NMS.

``dets`` [B, N, 5]: x1 y1 x2 y2 in input pixels, score; ``labels`` int [B, N], negative in rows of padding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adaptrt.errors import ModelError
from adaptrt.specs.decoders import Decoder
from adaptrt.vision.decoders.candidates import Candidates, FromCandidates
from adaptrt.vision.decoders.efficient_nms import EfficientNmsParams
from adaptrt.vision.decoders.outputs import check_batch, require_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from adaptrt.predictions import ImageMeta
    from adaptrt.specs import ModelSpec
    from adaptrt.specs.tensors import Arrays

OUTPUTS = ("dets", "labels")


def read(outputs: Arrays, metas: Sequence[ImageMeta], _spec: ModelSpec) -> Arrays:
    return read_rows(outputs, metas, "mmdeploy", width=5)


def read_rows(outputs: Arrays, metas: Sequence[ImageMeta], decoder: str, *, width: int) -> Arrays:
    """Both outputs, with ``width`` numbers in a row of ``dets``."""
    if not set(OUTPUTS) <= set(outputs):
        raise ModelError(f"Decoder {decoder!r} expects {' and '.join(OUTPUTS)}; this model has {', '.join(outputs)}.")
    boxes, labels = (outputs[name] for name in OUTPUTS)
    for name in OUTPUTS:
        check_batch(name, outputs[name], metas)
    if boxes.ndim != 3 or boxes.shape[2] != width or labels.shape != boxes.shape[:2]:
        other = {5: "mmdeploy", 6: "mmdeploy_obb"}.get(boxes.shape[-1]) if boxes.ndim == 3 else None
        raise ModelError(
            f"Decoder {decoder!r} expects dets [B, N, {width}] and labels [B, N]; got {list(boxes.shape)} and {list(labels.shape)}.",
            hint=f"For these: --decoder {other}" if other not in (None, decoder) else None,
        )
    return {"dets": boxes, "labels": labels}


def objects(outputs: Arrays, spec: ModelSpec) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Rows and labels of one image without the padding, and their indices."""
    kept = np.flatnonzero(outputs["labels"] >= 0)
    labels = outputs["labels"][kept].astype(np.int64)
    require_labels(labels, spec)
    return outputs["dets"][kept].astype(np.float32, copy=False), labels, kept


def candidates(outputs: Arrays, _meta: ImageMeta, spec: ModelSpec, _params: EfficientNmsParams) -> Candidates:
    rows, labels, kept = objects(outputs, spec)
    return Candidates(rows[:, :4], rows[:, 4], labels, {"row": kept})


decoder = Decoder("mmdeploy", EfficientNmsParams, FromCandidates(read, candidates, selected=True))
