"""The classic, anchor-based YOLOv5: boxes with objectness.

One output, [B, N, 5 + nc]: centre x, centre y, width, height in input pixels, objectness, then a score for each class.
The confidence of a class is objectness times its score.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt.errors import ModelError
from adaptrt.predictions import Decoder, Detections, ImageMeta
from adaptrt.vision.decoders.candidates import detections_from_candidates
from adaptrt.vision.decoders.outputs import check_batch, first_output
from adaptrt.vision.decoders.params import DetectionParams

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from adaptrt.specs import ModelSpec


def decode(
    outputs: Mapping[str, NDArray[Any]], metas: Sequence[ImageMeta], spec: ModelSpec, params: DetectionParams
) -> list[Detections]:
    name, raw = first_output(outputs, "yolo_anchor")
    check_batch(name, raw, metas)
    _check_shape(name, raw.shape, len(spec.labels))
    return [_decode_one(sample, meta, spec.labels, params) for sample, meta in zip(raw, metas, strict=True)]


def _decode_one(sample: NDArray[Any], meta: ImageMeta, labels: tuple[str, ...], params: DetectionParams) -> Detections:
    # a class score is at most 1, so what fails on objectness alone can be dropped before anything is computed
    keep = np.flatnonzero(sample[:, 4] > params.conf)  # sample: [N, 5 + nc]
    candidates = sample[keep].astype(np.float32, copy=False)  # [n, 5 + nc]
    confidence = candidates[:, 5:] * candidates[:, 4:5]
    return detections_from_candidates(candidates[:, :4], confidence, meta, labels, params)


def _check_shape(name: str, shape: tuple[int, ...], classes: int) -> None:
    if len(shape) == 3 and (shape[2] == 5 + classes if classes else shape[2] >= 6):
        return
    hint = None
    if len(shape) == 3 and classes:
        if shape[1] == 4 + classes:
            hint = "It has no objectness: use decoder 'yolo'."
        elif shape[1] == 5 + classes:
            hint = "It looks transposed: [B, 5 + nc, N]."
        else:
            hint = f"It would fit {shape[2] - 5} classes, the spec has {classes} labels."
    wanted = 5 + classes if classes else "5 + nc"
    raise ModelError(f"Output {name!r} is {list(shape)}; decoder 'yolo_anchor' reads [B, N, {wanted}].", hint=hint)


decoder = Decoder("yolo_anchor", DetectionParams, decode)
