"""End-to-end heads (YOLOv10, YOLO26): one output, [B, N, 6], x1 y1 x2 y2 in input pixels, score, class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptrt.specs.decoders import Decoder
from adaptrt.vision.decoders.candidates import Candidates, FromCandidates
from adaptrt.vision.decoders.outputs import first_output
from adaptrt.vision.decoders.params import UnsuppressedParams
from adaptrt.vision.decoders.yolo_rows import candidates_of, check_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adaptrt.predictions import ImageMeta
    from adaptrt.specs import ModelSpec
    from adaptrt.specs.tensors import Arrays


def read(outputs: Arrays, metas: Sequence[ImageMeta], spec: ModelSpec) -> Arrays:
    name, raw = first_output(outputs, "yolo_end2end", metas)
    check_rows(name, raw.shape, "end2end", len(spec.labels), 0, "yolo_end2end")
    return {"raw": raw}


def candidates(outputs: Arrays, _meta: ImageMeta, _spec: ModelSpec, params: UnsuppressedParams) -> Candidates:
    return candidates_of(outputs["raw"], "end2end", 0, params.conf)[0]


decoder = Decoder("yolo_end2end", UnsuppressedParams, FromCandidates(read, candidates))
