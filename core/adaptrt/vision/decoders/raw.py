"""Raw outputs, one sample at a time: for models whose output semantics are unknown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adaptrt.errors import ModelError
from adaptrt.predictions import ImageMeta, Values
from adaptrt.specs.decoders import Decoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adaptrt.specs import ModelSpec
    from adaptrt.specs.tensors import Arrays


@dataclass(frozen=True)
class RawParams:
    """None: nothing is decoded."""


def decode(outputs: Arrays, metas: Sequence[ImageMeta], _spec: ModelSpec, _params: RawParams) -> list[Values]:
    """One ``Values`` per image; without images, one per sample."""
    samples = len(metas) or max((len(array) for array in outputs.values() if array.ndim), default=0)
    for name, array in outputs.items():
        if not array.ndim or len(array) != samples:
            raise ModelError(
                f"Output {name!r} of shape {list(array.shape)} does not have {samples} samples.",
                hint="Its first axis must be the batch; for other outputs, call the runner directly.",
            )
    return [Values({name: array[i] for name, array in outputs.items()}) for i in range(samples)]


decoder = Decoder("raw", RawParams, decode)
