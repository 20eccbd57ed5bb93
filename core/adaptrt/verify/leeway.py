"""What float32 leaves open of the reference's own result: deviations by rounding, ties, and ranks that change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from adaptrt.specs.tensors import Arrays


def _none() -> Sequence[Arrays]:
    return ()


def _no_ties() -> Mapping[str, NDArray[np.bool_]]:
    return {}


@dataclass(frozen=True)
class Leeway:
    """The leeway of one sample. Each part is measured when it is first asked for, since most comparisons need none.

    - ``deviations``: absolute differences of the reference's outputs for other roundings of its weights and inputs
    - ``ties``: integers that the reference changes when its inputs are perturbed by one rounding error
    - ``unstable``: whether that perturbation changes outputs of the reference beyond their limits
    """

    deviations: Callable[[], Sequence[Arrays]] = _none
    ties: Callable[[], Mapping[str, NDArray[np.bool_]]] = _no_ties
    unstable: Callable[[], bool] = bool

    def row(self, position: int, size: int) -> Leeway:
        """That of one row of a sample with batch ``size``."""
        if size == 1:
            return self

        def rows(arrays: Arrays) -> dict[str, NDArray[Any]]:
            return {name: row_of(array, position, size) for name, array in arrays.items()}

        return Leeway(lambda: [rows(one) for one in self.deviations()], lambda: rows(self.ties()), self.unstable)


def row_of(array: NDArray[Any], position: int, size: int) -> NDArray[Any]:
    """One sample of a batch, batch axis kept. An output that lost its batch axis comes back whole, and differs."""
    return array[position : position + 1] if array.ndim and array.shape[0] == size else array


def deviations(reference: Arrays, other: Arrays) -> dict[str, NDArray[np.float64]]:
    """Absolute differences of floats, infinite where only one side is a number. Outputs of other shapes are omitted: their
    values decide their shape, so they say nothing about this one."""
    found = {}
    for name, expected in reference.items():
        actual = other.get(name)
        if actual is None or actual.shape != expected.shape or expected.dtype.kind != "f":
            continue
        with np.errstate(invalid="ignore"):
            difference = np.abs(actual.astype(np.float64) - expected)
        difference[(actual == expected) | (np.isnan(actual) & np.isnan(expected))] = 0.0
        found[name] = np.nan_to_num(difference, nan=np.inf, posinf=np.inf)
    return found
