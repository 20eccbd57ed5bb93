"""The tolerance of each element: limits follow the scale of its channel, and sentinels are compared exactly.

A limit is ``atol + rtol * scale``. A single scale for a whole output would be that of its largest value: a masked logit
of -1e9, or coordinates in pixels, would hide errors in all other values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptrt.specs import Tolerance

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

# scales that lie apart by this factor are different quantities, if each is the largest of many elements; else of few
_APART, _APART_OF_FEW, _MANY = 16.0, 100.0, 16
# what masks are filled with: the ends of the float types, and powers of ten from 1e4 on
_POWERS = [10.0**power for power in range(4, 39)]
_ENDS = [65504.0, 3.3895313892515355e38, float(np.finfo(np.float32).max), float(np.finfo(np.float64).max)]
_SENTINELS = np.array([*_POWERS, *(float(np.float32(power)) for power in _POWERS), *_ENDS])
_LEAST_SENTINEL, _ABOVE = 1e4, 32.0
_FAR, _EMPTY_BINADES = 2.0**10, 10


@dataclass(frozen=True)
class Scales:
    """The largest ordinary magnitude of an array, and at each index of its axes."""

    whole: float
    axes: Mapping[int, Floats] = field(default_factory=dict)

    @classmethod
    def of(cls, magnitudes: Floats, axis: int | None) -> Scales:
        return cls(
            float(magnitudes.max(initial=0.0)),
            {one: _along(magnitudes, one) for one in channel_axes(magnitudes.ndim, axis)},
        )

    def at_least(self, other: Scales | None) -> Scales:
        if other is None:
            return self
        axes = {axis: np.maximum(scales, other.axes[axis]) for axis, scales in self.axes.items()}
        return Scales(max(self.whole, other.whole), axes)


def usual_scales(arrays: Iterable[Floats], axis: int | None) -> dict[tuple[int, ...], Scales]:
    """The median over arrays of one shape (behind the batch), by that shape."""
    alike: dict[tuple[int, ...], list[Scales]] = {}
    for array in arrays:
        if array.size:
            alike.setdefault(array.shape[1:], []).append(Scales.of(ordinary_magnitudes(array), axis))
    return {
        shape: Scales(
            float(np.median([one.whole for one in found])),
            {one: np.median([scales.axes[one] for scales in found], axis=0) for one in found[0].axes},
        )
        for shape, found in alike.items()
    }


def sentinels(values: Floats) -> Mask:
    """Elements that are not quantities: infinities, and fill values of masks, far above all other values."""
    infinite: Mask = np.isinf(values)
    return np.asarray(infinite | _mask_values(_finite_magnitudes(values)))


def element_limits(
    reference: Floats, tolerance: Tolerance, axis: int | None, usual: Mapping[tuple[int, ...], Scales] | None = None
) -> Floats:
    """The largest accepted difference of each element of ``reference`` [batch, ...].

    ``axis`` is that of the channels if it is known; else every axis is looked at, and an element follows the smallest
    scale of those that it belongs to. ``usual`` are the scales of other samples: a channel that happens to be small in
    this one has its usual scale.
    """
    if not tolerance.rtol:
        return np.full(reference.shape, tolerance.atol)
    absolute = _finite_magnitudes(reference)
    far = _far_out(absolute)
    ordinary = np.where(far, 0.0, absolute)
    scales = Scales.of(ordinary, axis).at_least((usual or {}).get(reference.shape[1:]))
    scale: Floats = np.full([1] * reference.ndim, scales.whole)
    for one, own in scales.axes.items():
        size = reference.shape[one]
        groups = clusters(own, many=reference.size // size >= _MANY)
        if groups.max(initial=0):
            largest = np.zeros(groups.max() + 1)
            np.maximum.at(largest, groups, own)
            scale = np.minimum(
                scale, largest[groups].reshape([size if at == one else 1 for at in range(reference.ndim)])
            )
    # what lies far out has its own magnitude as its scale
    return np.asarray(tolerance.atol + tolerance.rtol * np.maximum(scale, np.where(far, absolute, 0.0)))


def clusters(scales: Floats, *, many: bool) -> NDArray[np.intp]:
    """Which of the scales belong together, numbered from the smallest: neighbors in size less than a factor apart.

    Zeros belong to the smallest. ``many``: whether each is the largest of many elements.
    """
    order = np.argsort(scales, kind="stable")
    ordered = scales[order]
    steps = (ordered[:-1] > 0) & (ordered[1:] >= ordered[:-1] * (_APART if many else _APART_OF_FEW))
    found = np.zeros(len(scales), np.intp)
    found[order[1:]] = np.cumsum(steps)
    return found


def channel_clusters(values: Floats, axis: int | None) -> dict[int, list[tuple[Mask, float]]]:
    """By axis, the groups of its indices that differ in scale, each with its scale."""
    found: dict[int, list[tuple[Mask, float]]] = {}
    for one, own in Scales.of(ordinary_magnitudes(values), axis).axes.items():
        groups = clusters(own, many=values.size // values.shape[one] >= _MANY)
        found[one] = [(groups == number, float(own[groups == number].max())) for number in range(groups.max() + 1)]
    return found


def channel_axes(ndim: int, axis: int | None) -> list[int]:
    """The axes whose indices may be channels: the one that is known, else all behind the batch."""
    if axis is not None:
        return [axis % ndim] if ndim > 1 else []
    return list(range(1, ndim))


def ordinary_magnitudes(values: Floats) -> Floats:
    """Magnitudes, with 0 for NaN, infinity and what lies far out."""
    absolute = _finite_magnitudes(values)
    return np.where(_far_out(absolute), 0.0, absolute)


def _along(magnitudes: Floats, axis: int) -> Floats:
    others = tuple(position for position in range(magnitudes.ndim) if position != axis)
    return np.asarray(magnitudes.max(others, initial=0.0))


def _finite_magnitudes(values: Floats) -> Floats:
    return np.where(np.isfinite(values), np.abs(values), 0.0)


def _mask_values(absolute: Floats) -> Any:
    """Elements that are what masks are filled with, and far above all others."""
    if float(absolute.max(initial=0.0)) < _LEAST_SENTINEL:
        return np.False_
    filled = np.isin(absolute, _SENTINELS)
    return filled & (absolute >= _ABOVE * float(absolute[~filled].max(initial=0.0)))


def _far_out(absolute: Floats) -> Any:
    """Mask values, and elements of 1024 and more that everything else lies a factor of 1024 below: those above the lowest
    such gap."""
    if float(absolute.max(initial=0.0)) < _FAR:
        return np.False_
    filled = _mask_values(absolute)
    return filled | _beyond_a_gap(np.where(filled, 0.0, absolute))


def _beyond_a_gap(absolute: Floats) -> Any:
    if float(absolute.max(initial=0.0)) < _FAR:
        return np.False_
    counts = np.bincount(np.frexp(absolute)[1].ravel()[absolute.ravel() > 0] + 1100)
    exponents = np.flatnonzero(counts) - 1100
    gaps = np.flatnonzero(np.diff(exponents) > _EMPTY_BINADES)
    above = [2.0 ** float(exponents[gap + 1] - 1) for gap in gaps if exponents[gap + 1] > 10]
    return absolute >= above[0] if above else np.False_
