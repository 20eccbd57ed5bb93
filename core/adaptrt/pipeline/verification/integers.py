"""Valid integer inputs of a model, found by trying: an index must lie within its lookup table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt.specs import ModelSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.specs.tensors import Arrays

_LARGEST = 999  # for an input that is not an index: enough to tell rounding down from rounding towards zero


def find_integers(
    tables: Sequence[int], spec: ModelSpec, sample: Arrays, run: Callable[[Arrays], Arrays]
) -> dict[str, tuple[int, int]]:
    """For each integer input, the widest of a few ranges at whose limits the model runs and returns finite values.

    ``sample`` holds inputs with which the model runs, ``tables`` the sizes of its embeddings. An input that accepts no wider range gets 0 to 1.
    """
    found: dict[str, tuple[int, int]] = {}
    for tensor in spec.inputs:
        dtype = np.dtype(tensor.dtype)
        if dtype.kind not in "iu" or not sample[tensor.name].size:
            continue
        for low, high in _ranges(tables, dtype):
            if _runs(run, {**sample, tensor.name: _ends(sample[tensor.name], low, high)}):
                found[tensor.name] = (low, high)
                break
    return found


def _ranges(tables: Sequence[int], dtype: np.dtype[Any]) -> Iterator[tuple[int, int]]:
    limits = np.iinfo(dtype)
    tables = sorted(set(tables), reverse=True)
    # an embedding's negative indices are errors in torch, so it takes none of the ranges before its own
    candidates = [(-_LARGEST, _LARGEST), *((0, size - 1) for size in tables), (0, _LARGEST), (0, 9)]
    for low, high in candidates:
        if low < high:
            yield max(low, limits.min), min(high, limits.max)


def _ends(array: NDArray[Any], low: int, high: int) -> NDArray[Any]:
    values = np.full(array.shape, high, array.dtype)
    values.flat[::2] = low
    if values.size == 1:
        values.flat[0] = high
    return values


def _runs(run: Callable[[Arrays], Arrays], inputs: Arrays) -> bool:
    try:
        outputs = run(inputs)
    except Exception:
        return False
    return not any(array.dtype.kind in "fc" and np.isnan(array).any() for array in outputs.values())
