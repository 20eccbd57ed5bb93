"""The classic, anchor-based YOLOv5: boxes with objectness.

One output, [B, N, 5 + nc]: center x, center y, width, height in input pixels, objectness, then a score for each class.
The confidence of a class is objectness times its score.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adaptrt.errors import ModelError
from adaptrt.specs.decoders import Decoder
from adaptrt.specs.layouts import BoxLayout, Part
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
    name, raw = first_output(outputs, "yolo_anchor", metas)
    _check_shape(name, raw.shape, len(spec.labels))
    return {"raw": raw}


def candidates(outputs: Arrays, _meta: ImageMeta, _spec: ModelSpec, params: DetectionParams) -> Candidates:
    raw = outputs["raw"]  # [N, 5 + nc]
    # class scores are at most 1, so boxes whose objectness is below conf can be dropped first
    keep = np.flatnonzero(raw[:, 4] > params.conf)
    rows = raw[keep].astype(np.float32, copy=False)  # [n, 5 + nc]
    return best_class(rows[:, :4], rows[:, 5:] * rows[:, 4:5])


def batched(outputs: Arrays, _spec: ModelSpec, params: DetectionParams) -> tuple[Candidates, NDArray[np.intp]]:
    raw = outputs["raw"]  # [B, N, 5 + nc]
    image, place = (raw[..., 4] > params.conf).nonzero()
    rows = raw[image, place].astype(np.float32, copy=False)  # [n, 5 + nc]
    return best_class(rows[:, :4], rows[:, 5:] * rows[:, 4:5]), image


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
            hint = f"It has {shape[2] - 5} classes, but the spec has {classes} labels."
    wanted = 5 + classes if classes else "5 + nc"
    raise ModelError(f"Decoder 'yolo_anchor' expects [B, N, {wanted}]; output {name!r} is {list(shape)}.", hint=hint)


def layout(spec: ModelSpec) -> BoxLayout:
    name = spec.outputs[0].name
    return BoxLayout(Part(name, 0, 4), Part(name, 5), objectness=Part(name, 4, 5), centers=True)


decoder = Decoder("yolo_anchor", DetectionParams, FromCandidates(read, candidates, layout=layout, batched=batched))
