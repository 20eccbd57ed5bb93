"""Checks of raw outputs that decoders share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adaptrt.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from adaptrt.predictions import ImageMeta
    from adaptrt.specs.tensors import Arrays


def first_output(outputs: Arrays, decoder: str) -> tuple[str, NDArray[Any]]:
    for name, array in outputs.items():
        return name, array
    raise ModelError(f"Decoder {decoder!r} received no outputs.")


def check_batch(name: str, array: NDArray[np.generic], metas: Sequence[ImageMeta]) -> None:
    if not array.ndim or len(array) != len(metas):
        raise ModelError(
            f"Output {name!r} of shape {list(array.shape)} does not have {len(metas)} images.",
            hint="Its first axis must be the batch, with one entry per input image.",
        )
