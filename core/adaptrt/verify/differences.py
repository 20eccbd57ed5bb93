"""How far two tensors are apart: the figures of one tensor, without judging them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Difference:
    """``max`` and ``mean`` of the absolute difference; ``relative``: its Euclidean norm divided by that of the reference;
    ``cosine``: similarity of both as vectors, 1 if they have the same direction."""

    max: float
    mean: float
    relative: float
    cosine: float


def difference_of(reference: NDArray[Any], other: NDArray[Any]) -> Difference:
    """The difference of two arrays of one shape; infinite where only one of them is NaN or infinite."""
    wanted, given = (np.asarray(array, np.float64).ravel() for array in (reference, other))
    if not wanted.size:
        return Difference(0.0, 0.0, 0.0, 1.0)
    with np.errstate(invalid="ignore"):
        apart = np.abs(wanted - given)
    apart[(wanted == given) | (np.isnan(wanted) & np.isnan(given))] = 0.0
    apart[np.isnan(apart)] = np.inf
    finite = np.isfinite(wanted) & np.isfinite(given)
    norm, other_norm = float(np.linalg.norm(wanted[finite])), float(np.linalg.norm(given[finite]))
    distance = float(np.linalg.norm(apart)) if np.isfinite(apart).all() else float("inf")
    relative = distance / norm if norm else (0.0 if not distance else float("inf"))
    if norm and other_norm:
        cosine = min(1.0, max(-1.0, float(wanted[finite] / norm @ (given[finite] / other_norm))))
    else:
        cosine = 1.0 if norm == other_norm else 0.0
    return Difference(float(apart.max()), float(apart.mean()), relative, cosine)
