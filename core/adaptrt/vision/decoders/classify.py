"""Classification: one output, [B, K] (or [B, K, 1, 1]), of logits or of probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from adaptrt.errors import ModelError
from adaptrt.predictions import Classification, ImageMeta
from adaptrt.specs.decoders import Decoder
from adaptrt.vision.decoders.outputs import first_output
from adaptrt.vision.decoders.params import check_count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from adaptrt.specs import ModelSpec
    from adaptrt.specs.tensors import Arrays


@dataclass(frozen=True)
class ClassifyParams:
    """Interpretation of the scores.

    - ``top_k``: how many classes to return, most likely first
    - ``probabilities``: the output already contains probabilities, so no softmax is applied
    """

    top_k: int = 5
    probabilities: bool = False

    def __post_init__(self) -> None:
        check_count("top_k", self.top_k)


def decode(
    outputs: Arrays, metas: Sequence[ImageMeta], spec: ModelSpec, params: ClassifyParams
) -> list[Classification]:
    name, raw = first_output(outputs, "classify", metas)
    if raw.ndim < 2 or any(size != 1 for size in raw.shape[2:]):
        raise ModelError(f"Decoder 'classify' expects [B, K]; output {name!r} is {list(raw.shape)}.")
    scores: NDArray[np.float32] = raw.reshape(len(raw), -1).astype(np.float32, copy=False)  # [B, K]
    if spec.labels and len(spec.labels) != scores.shape[1]:
        raise ModelError(
            f"Output {name!r} has {scores.shape[1]} classes, but the spec has {len(spec.labels)} labels.",
            hint="Specify one label per class.",
        )
    if not params.probabilities:
        scores = softmax(scores)
    best = np.argsort(-scores, axis=1, kind="stable")[:, : params.top_k]
    return [
        Classification(scores=row[top], labels=top.astype(np.int64, copy=False), names=spec.labels)
        for row, top in zip(scores, best, strict=True)
    ]


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Over the last axis."""
    powers: NDArray[np.float32] = np.exp(logits - logits.max(axis=-1, keepdims=True))
    powers /= powers.sum(axis=-1, keepdims=True)
    return powers


decoder = Decoder("classify", ClassifyParams, decode, task="classify")
