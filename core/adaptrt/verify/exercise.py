"""Whether samples exercise a model: an output that hardly varies over them would also match a constant."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from adaptrt.specs import ModelSpec, OutputGroup, Precision
from adaptrt.verify.compare import check_name, groups_of, slice_group
from adaptrt.verify.scales import channel_clusters, element_limits
from adaptrt.verify.tolerances import tolerance_of

if TYPE_CHECKING:
    from adaptrt.specs.tensors import Arrays


DECIDED = 1e9  # of what is equal or not; JSON has no infinity


def variation(
    references: Sequence[Arrays], spec: ModelSpec, precision: Precision, whole: Collection[str] = ()
) -> dict[str, float]:
    """The largest variation of each output group over the samples, in multiples of its tolerance.

    Element by element, among the samples and the rows of their batches; outputs that are ``whole`` have no rows. Where channels of one group differ in scale, as boxes
    beside scores, the group of channels that varies the least counts. ``DECIDED`` for integers that differ, and for an
    output whose shape the values decide.
    """
    return {
        check_name(output.name, group.name): _variation_of(
            [np.atleast_1d(slice_group(np.asarray(one[output.name]), group)) for one in references],
            group,
            precision,
            whole=output.name in whole,
        )
        for output in spec.outputs
        for group in groups_of(output)
    }


def _variation_of(arrays: list[NDArray[Any]], group: OutputGroup, precision: Precision, *, whole: bool) -> float:
    if not whole:
        return _group_variation(arrays, group, precision)
    axis = group.axis
    group = replace(group, axis=axis + 1 if axis is not None and axis >= 0 else axis)
    return _group_variation([array[np.newaxis] for array in arrays], group, precision)


def _group_variation(arrays: list[NDArray[Any]], group: OutputGroup, precision: Precision) -> float:
    alike: dict[tuple[int, ...], list[NDArray[Any]]] = {}
    for array in arrays:
        alike.setdefault(array.shape[1:], []).append(array)
    most = max(alike.values(), key=len)
    rows = np.concatenate(most)
    if not rows.size:
        return 0.0 if all(not array.size for array in arrays) else DECIDED
    if rows.dtype.kind in "iub":
        return DECIDED if (rows != rows[:1]).any() or len({len(one) for one in most}) > 1 else 0.0
    values = rows.astype(np.float64)
    finite = np.where(np.isfinite(values), values, 0.0)
    tolerance = tolerance_of(group, precision)
    limits = np.maximum(element_limits(values, tolerance, group.axis), tolerance.atol)
    spread = finite.max(0) - finite.min(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(spread > 0, spread / limits.max(0), 0.0)
    return min(DECIDED, _least_varied(ratios, values, group, tolerance.atol))


def _least_varied(ratios: NDArray[np.float64], values: NDArray[np.float64], group: OutputGroup, atol: float) -> float:
    """The largest ratio, taken apart for channels of different scales."""
    found = [float(ratios.max(initial=0.0))]
    for axis, groups in channel_clusters(values, group.axis).items():
        others = tuple(position for position in range(ratios.ndim) if position != axis - 1)
        along = ratios.max(others, initial=0.0)
        # what is hardly more than zero says nothing
        found += [float(along[chosen].max()) for chosen, scale in groups if scale > 100 * atol and axis > 0]
    return min(found)
