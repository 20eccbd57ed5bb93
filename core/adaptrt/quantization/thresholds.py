"""The magnitude that becomes 127: the largest one, one that most values are below, or the one with the least divergence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PERCENTILE = 99.99
_LEVELS = 128  # of a magnitude in int8
_SMOOTHING = 1e-4
_STEP = 8  # bins between two candidates for the threshold


def percentile_threshold(counts: NDArray[np.int64], largest: float, share: float = PERCENTILE) -> float:
    """The upper edge of the bin below which ``share`` percent of the values lie."""
    total = np.cumsum(counts)
    if not total[-1]:
        return largest
    index = int(np.searchsorted(total, total[-1] * share / 100))
    return largest * (index + 1) / len(counts)


def entropy_threshold(counts: NDArray[np.int64], largest: float) -> float:
    """The threshold whose int8 distribution diverges least from the one that was measured (Kullback and Leibler).

    As in NVIDIA's quantization toolkits; zeros, which any threshold keeps, count as much as the bin after them.
    """
    bins = counts.astype(np.float64)
    bins[0] = bins[1]
    if not bins.any():
        return largest
    best, found = np.inf, len(bins)
    for count in range(_LEVELS, len(bins) + 1, _STEP):
        divergence = _divergence(bins, count)
        if divergence < best:
            best, found = divergence, count
    return largest * found / len(bins)


def _divergence(bins: NDArray[np.float64], count: int) -> float:
    kept = bins[:count]
    reference = kept.copy()
    reference[-1] += bins[count:].sum()
    levels = np.arange(count) * _LEVELS // count
    occupied = kept > 0
    totals = np.bincount(levels, weights=kept, minlength=_LEVELS)
    numbers = np.bincount(levels, weights=occupied, minlength=_LEVELS)
    means = np.divide(totals, numbers, out=np.zeros(_LEVELS), where=numbers > 0)
    quantized: NDArray[Any] = np.where(occupied, means[levels], 0.0)
    if not quantized.sum():
        return np.inf
    p = reference / reference.sum()
    present = p > 0
    # cut-off values can land in a bin that held none: a small probability there instead of an infinite divergence
    q = np.where(present, np.maximum(quantized / quantized.sum(), _SMOOTHING), 0.0)
    q /= q.sum()
    return float((p[present] * np.log(p[present] / q[present])).sum())
