"""Ultralytics' output format for RT-DETR: one output, [B, Q, 6], cx cy w h relative to the input size, score, class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adaptrt.specs.decoders import Decoder
from adaptrt.vision.boxes import corners_from_centers
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
    name, raw = first_output(outputs, "rtdetr", metas)
    check_rows(name, raw.shape, "end2end", len(spec.labels), 0, "rtdetr")
    return {"raw": raw}


def candidates(outputs: Arrays, meta: ImageMeta, _spec: ModelSpec, params: UnsuppressedParams) -> Candidates:
    found, _ = candidates_of(outputs["raw"], "end2end", 0, params.conf)
    height, width = meta.input_size
    boxes = corners_from_centers(found.boxes) * np.array([width, height, width, height], np.float32)
    return Candidates(boxes, found.scores, found.labels)


decoder = Decoder("rtdetr", UnsuppressedParams, FromCandidates(read, candidates))
