"""Checks of raw outputs that decoders share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adaptrt.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from adaptrt.predictions import ImageMeta
    from adaptrt.specs import ModelSpec
    from adaptrt.specs.tensors import Arrays


def first_output(outputs: Arrays, decoder: str, metas: Sequence[ImageMeta]) -> tuple[str, NDArray[Any]]:
    for name, array in outputs.items():
        check_batch(name, array, metas)
        return name, array
    raise ModelError(f"Decoder {decoder!r} received no outputs.")


def require_outputs(outputs: Arrays, names: Sequence[str], decoder: str) -> None:
    missing = [name for name in names if name not in outputs]
    if missing:
        raise ModelError(
            f"Decoder {decoder!r} expects outputs {', '.join(missing)}; this model has {', '.join(outputs) or 'no outputs'}."
        )


def check_batch(name: str, array: NDArray[np.generic], metas: Sequence[ImageMeta]) -> None:
    if not array.ndim or len(array) != len(metas):
        raise ModelError(
            f"Output {name!r} of shape {list(array.shape)} does not have {len(metas)} images.",
            hint="Its first axis must be the batch, with one entry per input image.",
        )


def require_labels(labels: NDArray[np.integer[Any]], spec: ModelSpec) -> None:
    """Reject classes that the spec has no label for."""
    if spec.labels and labels.size and not 0 <= labels.min() <= labels.max() < len(spec.labels):
        raise ModelError(
            f"The model predicts class {labels.max()}, but the spec has {len(spec.labels)} labels.",
            hint="Specify one label per class.",
        )
