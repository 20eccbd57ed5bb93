"""Ultralytics' output format for instance segmentation.

Two outputs: rows (``yolo_rows``) with a coefficient for each prototype, and the prototypes, [B, nm, h, w]. The mask of an
object is the area inside its box in which the sum of the prototypes, weighted by the coefficients, is above 0.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from adaptrt.errors import ModelError
from adaptrt.predictions import Mask, Segments
from adaptrt.specs.decoders import Decoder
from adaptrt.vision.decoders.candidates import Candidates, FromCandidates
from adaptrt.vision.decoders.outputs import check_batch
from adaptrt.vision.decoders.yolo_obb import rows_of
from adaptrt.vision.decoders.yolo_rows import RowParams, candidates_of, check_rows, with_extra
from adaptrt.vision.enlarged_masks import linear_resize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from adaptrt.predictions import ImageMeta
    from adaptrt.specs import ModelSpec
    from adaptrt.specs.layouts import BoxLayout
    from adaptrt.specs.tensors import Arrays

    Floats = NDArray[np.float32]

_FINEST = 4  # a prototype's pixel is this many pixels of the input at most, where it is enlarged in two steps


@dataclass(frozen=True)
class SegmentParams(RowParams):
    """Thresholds, the layout of the output, and how masks are enlarged.

    - ``enlarge``: how masks get the size of the image: ``logits``, as in the package ultralytics, interpolates sums of
      prototypes; ``probabilities``, as in the classic YOLOv5 repository, interpolates their sigmoid, and cuts the padding at
      whole pixels of the prototypes, so that outlines differ by up to such a pixel
    """

    enlarge: Literal["logits", "probabilities"] = "logits"


def read(outputs: Arrays, metas: Sequence[ImageMeta], spec: ModelSpec) -> Arrays:
    if len(outputs) < 2:
        raise ModelError(
            f"Decoder 'yolo_segment' expects boxes and prototypes; this model has {', '.join(outputs) or 'no outputs'}."
        )
    (name, raw), (second, prototypes) = list(outputs.items())[:2]
    if raw.ndim == 4 and prototypes.ndim == 3:
        (name, raw), (second, prototypes) = (second, prototypes), (name, raw)
    check_batch(name, raw, metas)
    check_batch(second, prototypes, metas)
    if prototypes.ndim != 4:
        raise ModelError(f"Output {second!r} is {list(prototypes.shape)}; prototypes must be [B, nm, h, w].")
    check_rows(name, raw.shape, rows_of(spec), len(spec.labels), prototypes.shape[1], "yolo_segment")
    return {"raw": raw, "prototypes": prototypes}


def candidates(outputs: Arrays, _meta: ImageMeta, _spec: ModelSpec, params: SegmentParams) -> Candidates:
    found, coefficients = candidates_of(outputs["raw"], params.rows, len(outputs["prototypes"]), params.conf)
    return Candidates(found.boxes, found.scores, found.labels, {"coefficients": coefficients})


def predict(found: Candidates, outputs: Arrays, meta: ImageMeta, spec: ModelSpec) -> Segments:
    """Objects with a mask; one whose mask is empty is skipped, as in Ultralytics."""
    prototypes = outputs["prototypes"].astype(np.float32, copy=False)
    likely = spec.decoder is not None and spec.decoder.params.get("enlarge") == "probabilities"
    size = (int(prototypes.shape[1]), int(prototypes.shape[2]))
    enlarge = _classic_enlargements(meta.original_size, size) if likely else _enlargements(meta, size)
    masks = [
        _mask(prototypes, weights, box, enlarge, likely)
        for weights, box in zip(found.extras["coefficients"], found.boxes, strict=True)
    ]
    kept = np.array([mask.bitmap.any() for mask in masks], np.bool_)
    labels = found.labels.astype(np.int64, copy=False)
    return Segments(found.boxes, found.scores, labels, spec.labels, tuple(masks), meta.original_size).at(kept)


def _mask(prototypes: Floats, weights: Floats, box: Floats, enlarge: tuple[Floats, Floats], likely: bool) -> Mask:
    """Only what its box needs is computed: pixels whose left upper corner lies inside, as Ultralytics crops."""
    left, top, right, bottom = (math.ceil(side) for side in box)
    down, across = enlarge[0][top:bottom], enlarge[1][left:right]
    if not down.size or not across.size:
        return Mask(np.zeros((max(bottom - top, 0), max(right - left, 0)), np.bool_), left, top)
    rows, columns = _used(down), _used(across)
    logits = np.tensordot(weights, prototypes[:, rows, columns], axes=1)  # of the prototypes' size
    if likely:
        logits = np.tanh(logits / 2)  # twice the probability, less 1: above 0 where it is above a half
    return Mask(down[:, rows] @ logits @ across[:, columns].T > 0, left, top)


def _used(matrix: Floats) -> slice:
    columns = np.flatnonzero(matrix.any(axis=0))
    return slice(int(columns[0]), int(columns[-1]) + 1)


@functools.lru_cache(maxsize=16)
def _enlargements(meta: ImageMeta, size: tuple[int, int]) -> tuple[Floats, Floats]:
    """Matrices that resize the rows and columns of the prototypes to the original image: [H, h] and [W, w].

    Twice linear, as Ultralytics' ``process_mask_native``: the prototypes are enlarged so far that the padding of the
    letterbox is whole pixels of them, cut to the image, and enlarged to it.
    """
    axes = list(zip(meta.original_size, meta.scale, meta.offset, meta.input_size, size, strict=True))
    padding = 0
    for original, scale, _, side, own in axes:
        padding |= _FINEST * own - max(round(original * scale * _FINEST * own / side), 1)
    factor = _FINEST // math.gcd(_FINEST, padding | padding // 2)
    found = []
    for original, scale, offset, side, own in axes:
        ratio = own * factor / side  # pixels of the enlarged prototypes for one of the input
        start, length = round(offset * ratio), max(round(original * scale * ratio), 1)
        first = linear_resize(own, own * factor)[max(start, 0) : max(start, 0) + length]
        found.append(linear_resize(len(first), original) @ first)
    return found[0], found[1]


@functools.lru_cache(maxsize=16)
def _classic_enlargements(original: tuple[int, int], size: tuple[int, int]) -> tuple[Floats, Floats]:
    """The same as the classic repository's ``process_mask_native``: the letterbox is centered, its padding cut at whole pixels."""
    gain = min(own / side for side, own in zip(original, size, strict=True))
    found = []
    for side, own in zip(original, size, strict=True):
        padding = (own - side * gain) / 2
        start, stop = int(padding), int(own - padding)
        matrix = np.zeros((side, own), np.float32)
        matrix[:, start:stop] = linear_resize(stop - start, side)
        found.append(matrix)
    return found[0], found[1]


def layout(spec: ModelSpec) -> BoxLayout | None:
    prototypes = spec.outputs[1]
    given = {"enlarge": spec.decoder.params.get("enlarge", "logits") if spec.decoder else "logits"}
    changes = {"decoder": "nms_segment", "params": given, "kept": (prototypes.name,)}
    return with_extra(spec, rows_of(spec), int(prototypes.dims[1]), "coefficients", **changes)


decoder = Decoder(
    "yolo_segment",
    SegmentParams,
    FromCandidates(read, candidates, predict=predict, layout=layout, sized=True),
    task="segment",
)
