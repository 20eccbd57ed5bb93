"""Ultralytics' output format for detection without objectness (YOLOv5u, v8, v11, v12).

One output, [B, 4 + nc, N]: center x, center y, width, height in input pixels, then a score for each class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adaptrt.errors import ModelError
from adaptrt.specs.decoders import Decoder
from adaptrt.specs.layouts import BoxLayout, Part
from adaptrt.vision.boxes import corners_from_centers
from adaptrt.vision.decoders.candidates import Candidates, FromCandidates, best_class
from adaptrt.vision.decoders.outputs import first_output
from adaptrt.vision.decoders.params import DetectionParams

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from adaptrt.predictions import ImageMeta
    from adaptrt.specs import ModelSpec
    from adaptrt.specs.tensors import Arrays


def read(outputs: Arrays, metas: Sequence[ImageMeta], spec: ModelSpec) -> Arrays:
    name, raw = first_output(outputs, "yolo", metas)
    _check_shape(name, raw.shape, len(spec.labels))
    return {"raw": raw}


def candidates(outputs: Arrays, _meta: ImageMeta, _spec: ModelSpec, params: DetectionParams) -> Candidates:
    raw = outputs["raw"]  # [4 + nc, N]
    rows, scores = raw.T, np.maximum.reduce(raw[4:])
    keep = scores > params.conf
    if np.count_nonzero(keep) < len(keep):
        indices = keep.nonzero()[0]
        rows, scores = rows[indices], scores[indices]
    rows = rows.astype(np.float32, order="C", copy=False)  # [n, 4 + nc]
    return Candidates(
        corners_from_centers(rows[:, :4]), scores.astype(np.float32, copy=False), rows[:, 4:].argmax(axis=1)
    )


def batched(outputs: Arrays, _spec: ModelSpec, params: DetectionParams) -> tuple[Candidates, NDArray[np.intp]]:
    raw = outputs["raw"]  # [B, 4 + nc, N]
    image, cell = (raw[:, 4:].max(axis=1) > params.conf).nonzero()
    rows = raw[image, :, cell].astype(np.float32, order="C")  # [n, 4 + nc]
    return best_class(rows[:, :4], rows[:, 4:]), image


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
            hint = f"It has {shape[1] - 4} classes, but the spec has {classes} labels."
    raise ModelError(f"Decoder 'yolo' expects [B, {wanted}, N]; output {name!r} is {list(shape)}.", hint=hint)


def layout(spec: ModelSpec) -> BoxLayout:
    name = spec.outputs[0].name
    return BoxLayout(Part(name, 0, 4, channels_first=True), Part(name, 4, channels_first=True), centers=True)


decoder = Decoder("yolo", DetectionParams, FromCandidates(read, candidates, layout=layout, batched=batched))
