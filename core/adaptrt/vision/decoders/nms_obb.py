"""Rotated boxes of a graph that ends in NMS, as ``convert --nms`` writes it.

The outputs of ``efficient_nms``, except that ``det_boxes`` is [B, M, 5]: center x and y, width, height in input pixels, and the
angle of the width in radians.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptrt.specs.decoders import Decoder
from adaptrt.vision.decoders import efficient_nms, yolo_obb
from adaptrt.vision.decoders.candidates import Candidates, FromCandidates
from adaptrt.vision.decoders.efficient_nms import EfficientNmsParams

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adaptrt.predictions import ImageMeta
    from adaptrt.specs import ModelSpec
    from adaptrt.specs.tensors import Arrays


def read(outputs: Arrays, metas: Sequence[ImageMeta], _spec: ModelSpec) -> Arrays:
    return efficient_nms.read_rows(outputs, metas, "nms_obb", width=5)


def candidates(outputs: Arrays, meta: ImageMeta, spec: ModelSpec, params: EfficientNmsParams) -> Candidates:
    found = efficient_nms.candidates(outputs, meta, spec, params)
    return Candidates(yolo_obb.upright(found.boxes), found.scores, found.labels, {"rotated": found.boxes})


decoder = Decoder(
    "nms_obb",
    EfficientNmsParams,
    FromCandidates(read, candidates, predict=yolo_obb.predict, selected=True),
    task="obb",
    problems=efficient_nms.problems,
)
