"""Join samples to batches and split them again: a model with a fixed batch always gets a full one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt.specs import ModelSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.specs.tensors import Arrays


def smallest_batch(spec: ModelSpec) -> int:
    axes = spec.inputs[0].dims if spec.inputs else ()  # a non-image model may have no inputs or axes
    return axes[0].min if axes else 1


def fill_batch(samples: Sequence[Arrays], smallest: int) -> Arrays:
    """Join samples of batch 1 to one batch of at least ``smallest`` rows, padded with the last sample."""
    filled = [*samples, *[samples[-1]] * (smallest - len(samples))]
    if len(filled) == 1:
        return filled[0]
    return {
        name: np.concatenate([one[name] for one in filled]) if array.ndim and len(array) == 1 else array
        for name, array in filled[0].items()
    }


def first_rows(outputs: dict[str, NDArray[Any]], count: int, smallest: int) -> dict[str, NDArray[Any]]:
    """The outputs of the first ``count`` samples of a batch that was padded to ``smallest``."""
    if count >= smallest:
        return outputs
    return {name: array[:count] if array.ndim and len(array) == smallest else array for name, array in outputs.items()}
