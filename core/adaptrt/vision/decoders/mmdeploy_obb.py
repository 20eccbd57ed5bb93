"""Outputs of MMDeploy's ``end2end`` files for rotated boxes (MMRotate): the graph ends in NMS.

``dets`` [B, N, 6]: center x and y, width, height in input pixels, the angle of the width in radians, score; ``labels`` int [B, N],
negative in rows of padding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptrt.specs.decoders import Decoder
from adaptrt.vision.decoders import mmdeploy, yolo_obb
from adaptrt.vision.decoders.candidates import Candidates, FromCandidates
from adaptrt.vision.decoders.efficient_nms import EfficientNmsParams

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adaptrt.predictions import ImageMeta
    from adaptrt.specs import ModelSpec
    from adaptrt.specs.tensors import Arrays


def read(outputs: Arrays, metas: Sequence[ImageMeta], _spec: ModelSpec) -> Arrays:
    return mmdeploy.read_rows(outputs, metas, "mmdeploy_obb", width=6)


def candidates(outputs: Arrays, _meta: ImageMeta, spec: ModelSpec, _params: EfficientNmsParams) -> Candidates:
    rows, labels, _ = mmdeploy.objects(outputs, spec)
    return Candidates(yolo_obb.upright(rows[:, :5]), rows[:, 5], labels, {"rotated": rows[:, :5]})


decoder = Decoder(
    "mmdeploy_obb",
    EfficientNmsParams,
    FromCandidates(read, candidates, predict=yolo_obb.predict, selected=True),
    task="obb",
)
