"""Decoder ``classmap``: logits [B, C, h, w] to the class of every pixel of the original image. Needs numpy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt import Decoder, ImageMeta, ModelError, ModelSpec, UsageError, Values

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ClassMapParams:
    """How sure a pixel has to be.

    - ``confidence``: a pixel whose best class is less likely than this becomes class 0, the background
    """

    confidence: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.confidence <= 1:
            raise UsageError(f"confidence is {self.confidence}, and must lie between 0 and 1.", hint="For example: 0.5")


def decode(
    outputs: Mapping[str, NDArray[Any]], metas: Sequence[ImageMeta], spec: ModelSpec, params: ClassMapParams
) -> list[Values]:
    """``classes``: uint8 [H, W] (uint16 beyond 256 classes), pixels of the original image. ``share``: float32 [C], the
    part that each class has of it.
    """
    name, logits = next(iter(outputs.items()))
    if logits.ndim != 4 or len(logits) != len(metas) or logits.shape[1] != len(spec.labels):
        raise ModelError(
            f"Output {name!r} is {list(logits.shape)}; decoder 'classmap' reads [{len(metas)}, {len(spec.labels)}, h, w].",
            hint="Give one label for each class.",
        )
    return [_decode_one(sample, meta, params) for sample, meta in zip(logits, metas, strict=True)]


def _decode_one(logits: NDArray[Any], meta: ImageMeta, params: ClassMapParams) -> Values:
    best = logits.argmax(axis=0).astype(np.min_scalar_type(len(logits) - 1))  # [h, w]
    if params.confidence:
        powers = np.exp(logits.astype(np.float32) - logits.max(axis=0))
        best[powers.max(axis=0) / powers.sum(axis=0) < params.confidence] = 0
    classes = best[np.ix_(*_pixels_of(meta, best.shape))]  # [H, W]
    counts = np.bincount(classes.ravel(), minlength=len(logits))
    return Values({"classes": classes, "share": (counts / classes.size).astype(np.float32)})


def _pixels_of(meta: ImageMeta, size: tuple[int, ...]) -> list[NDArray[np.int64]]:
    """For each row, then each column, of the original image: the row or column of the input under its centre."""
    found = []
    for original, scale, offset, limit in zip(meta.original_size, meta.scale, meta.offset, size, strict=True):
        centres = (np.arange(original) + 0.5) * scale + offset
        found.append(np.clip(np.floor(centres), 0, limit - 1).astype(np.int64))
    return found


decoder = Decoder("classmap", ClassMapParams, decode)
