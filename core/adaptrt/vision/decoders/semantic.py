"""Semantic segmentation: one output, logits [B, C, h, w] or class indices [B, h, w] or [B, 1, h, w]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from adaptrt.errors import ModelError
from adaptrt.predictions import ImageMeta, SemanticMap
from adaptrt.specs.decoders import Decoder
from adaptrt.vision.decoders.outputs import first_output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from adaptrt.specs import ModelSpec
    from adaptrt.specs.tensors import Arrays


@dataclass(frozen=True)
class SemanticParams:
    """Mapping of the output to the original image.

    - ``resize``: ``linear`` resizes the logits and then takes the best class; ``nearest`` takes the best class of the
      nearest output pixel, which is faster. Class indices always use ``nearest``
    """

    resize: Literal["linear", "nearest"] = "linear"


def decode(outputs: Arrays, metas: Sequence[ImageMeta], spec: ModelSpec, params: SemanticParams) -> list[SemanticMap]:
    name, values = first_output(outputs, "semantic", metas)
    if values.ndim == 4 and values.shape[1] == 1 and values.dtype.kind in "iub":
        values = values[:, 0]
    indices = values.ndim == 3 and values.dtype.kind in "iub"
    if not (indices or _are_logits(values, spec)):
        classes = len(spec.labels) or "C"
        raise ModelError(
            f"Output {name!r} is {values.dtype} {list(values.shape)}; decoder 'semantic' expects logits "
            f"[{len(metas)}, {classes}, h, w] of at least two classes, or class indices [{len(metas)}, h, w].",
            hint="Specify one label per class.",
        )
    if indices and spec.labels and not 0 <= values.min() <= values.max() < len(spec.labels):
        raise ModelError(
            f"Output {name!r} contains classes {values.min()} to {values.max()}, but the spec has {len(spec.labels)} labels.",
            hint="Specify one label per class.",
        )
    dtype = np.uint8 if (len(spec.labels) if indices else values.shape[1]) in range(1, 257) else np.int32
    decode_one = _nearest if indices else _best_linear if params.resize == "linear" else _best_nearest
    return [
        SemanticMap(decode_one(sample, meta).astype(dtype, copy=False), spec.labels)
        for sample, meta in zip(values, metas, strict=True)
    ]


def _are_logits(values: NDArray[Any], spec: ModelSpec) -> bool:
    if values.ndim != 4 or values.dtype.kind != "f" or values.shape[1] < 2:
        return False
    return not spec.labels or values.shape[1] == len(spec.labels)


def _centers(meta: ImageMeta, size: tuple[int, ...]) -> list[NDArray[np.float64]]:
    """Positions, in an output of this size, of the row and column centers of the original image.

    The output covers the input, scaled by the ratio of their sizes; pixel centers are at half-integers.
    """
    found = []
    axes = zip(meta.original_size, meta.scale, meta.offset, meta.input_size, size, strict=True)
    for original, scale, offset, wide, own in axes:
        found.append(((np.arange(original) + 0.5) * scale + offset) * own / wide)
    return found


def _nearest(indices: NDArray[Any], meta: ImageMeta) -> NDArray[Any]:
    rows, columns = (
        np.clip(np.floor(centers), 0, limit - 1).astype(np.int64)
        for centers, limit in zip(_centers(meta, indices.shape), indices.shape, strict=True)
    )
    return indices[rows[:, None], columns]


def _best_nearest(logits: NDArray[Any], meta: ImageMeta) -> NDArray[Any]:
    return _nearest(logits.argmax(axis=0), meta)


def _best_linear(logits: NDArray[Any], meta: ImageMeta) -> NDArray[Any]:
    """Class by class, so that at most two maps of the original size are in memory."""
    (top, bottom, down), (left, right, across) = (
        _neighbors(centers, limit)
        for centers, limit in zip(_centers(meta, logits.shape[1:]), logits.shape[1:], strict=True)
    )
    best = np.zeros(meta.original_size, np.int32)
    highest = np.full(meta.original_size, -np.inf, np.float32)
    for label, plane in enumerate(logits):
        values = plane.astype(np.float32, copy=False)
        values = values[top] * (1 - down[:, None]) + values[bottom] * down[:, None]
        values = values[:, left] * (1 - across) + values[:, right] * across
        higher = values > highest
        best[higher] = label
        np.copyto(highest, values, where=higher)
    return best


def _neighbors(
    centers: NDArray[np.float64], limit: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """The pixels before and after each position, and the interpolation weight; clamped at the edges."""
    points = np.clip(centers - 0.5, 0, limit - 1)
    before = np.floor(points).astype(np.int64)
    return before, np.minimum(before + 1, limit - 1), (points - before).astype(np.float32)


decoder = Decoder("semantic", SemanticParams, decode, task="semantic")
