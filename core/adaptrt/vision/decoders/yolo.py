"""Ultralytics' contract for detection without objectness (YOLOv5u, v8, v11, v12).

One output, [B, 4 + nc, N]: centre x, centre y, width, height in input pixels, then a score for each class.
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
    name, raw = first_output(outputs, "yolo")
    check_batch(name, raw, metas)
    _check_shape(name, raw.shape, len(spec.labels))
    return [_decode_one(sample, meta, spec.labels, params) for sample, meta in zip(raw, metas, strict=True)]


def _decode_one(sample: NDArray[Any], meta: ImageMeta, labels: tuple[str, ...], params: DetectionParams) -> Detections:
    keep = np.flatnonzero(sample[4:].max(axis=0) > params.conf)  # sample: [4 + nc, N]
    candidates = sample[:, keep].T.astype(np.float32, order="C")  # [n, 4 + nc]
    return detections_from_candidates(candidates[:, :4], candidates[:, 4:], meta, labels, params)


def _check_shape(name: str, shape: tuple[int, ...], classes: int) -> None:
    if len(shape) == 3 and (shape[1] == 4 + classes if classes else shape[1] >= 5):
        return
    wanted = 4 + classes if classes else "4 + nc"
    hint = None
    if len(shape) == 3 and classes:
        if shape[2] == 5 + classes:
            hint = "It looks like a classic, anchor-based YOLOv5: use decoder 'yolo_anchor'."
        elif shape[2] == 4 + classes:
            hint = "It looks transposed: [B, N, 4 + nc]."
        else:
            hint = f"It would fit {shape[1] - 4} classes, the spec has {classes} labels."
    raise ModelError(f"Output {name!r} is {list(shape)}; decoder 'yolo' reads [B, {wanted}, N].", hint=hint)


decoder = Decoder("yolo", DetectionParams, decode)
