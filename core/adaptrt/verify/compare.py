"""Compares outputs group by group: one number over mixed units would mean nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptrt.errors import PluginError
from adaptrt.report import Check, CheckKind
from adaptrt.specs import ModelSpec, OutputGroup, OutputSpec, Precision, Tolerance
from adaptrt.verify.tolerances import tolerance_of

Arrays = Mapping[str, NDArray[Any]]


def groups_of(output: OutputSpec) -> tuple[OutputGroup, ...]:
    return output.groups or (OutputGroup(output.name, "values"),)


def check_name(output: str, group: str) -> str:
    return group if group == output else f"{output}: {group}"


def slice_group(array: NDArray[Any], group: OutputGroup) -> NDArray[Any]:
    if group.axis is None:
        return array
    index = [slice(None)] * array.ndim
    index[group.axis] = slice(group.start, group.stop)
    return array[tuple(index)]


@dataclass
class _Totals:
    """What was seen of one group so far."""

    group: OutputGroup
    tolerance: Tolerance
    largest: float = 0.0
    scale: float = 0.0
    total: float = 0.0
    count: int = 0
    samples: int = 0
    problem: str = ""  # why the difference is infinite

    @property
    def limit(self) -> float:
        return self.tolerance.atol + self.tolerance.rtol * self.scale


class Comparison:
    """Collects differences over samples; ``checks`` gives one check for each group.

    ``kind`` is that of the checks; ``tolerance`` overrides those of the groups.
    """

    def __init__(
        self, spec: ModelSpec, precision: Precision, *, kind: CheckKind = "samples", tolerance: Tolerance | None = None
    ) -> None:
        self._kind = kind
        self._totals = {
            (output.name, group.name): _Totals(group, tolerance or tolerance_of(group, precision))
            for output in spec.outputs
            for group in groups_of(output)
        }
        self._spec = spec

    def add(self, reference: Arrays, converted: Arrays) -> None:
        """One sample, or one batch of them. Shapes that differ, NaN and infinity count as infinitely wrong."""
        for output in self._spec.outputs:
            _require_covered(output, reference[output.name].shape)
        for totals, expected, actual in self._pairs(reference, converted):
            totals.samples += 1
            if actual is None or actual.shape != expected.shape:
                totals.largest = float("inf")
                given_shape = "nothing" if actual is None else f"shape {actual.shape}"
                totals.problem = totals.problem or f"{given_shape} instead of {expected.shape}"
                continue
            if not expected.size:
                continue
            wanted = np.atleast_1d(slice_group(expected, totals.group)).astype(np.float64, copy=False)
            given = np.atleast_1d(slice_group(actual, totals.group)).astype(np.float64, copy=False)
            if not wanted.size:  # a group beyond the output would agree about nothing
                totals.largest = float("inf")
                continue
            with np.errstate(invalid="ignore"):
                difference = np.abs(wanted - given)
            difference[(wanted == given) | (np.isnan(wanted) & np.isnan(given))] = 0.0  # equal infinities differ by NaN
            largest = float(difference.max(initial=0.0))
            if not np.isfinite(largest):
                largest = float("inf")
                totals.problem = totals.problem or "NaN or infinity where the other has a number"
            totals.largest = max(totals.largest, largest)
            finite = np.abs(wanted[np.isfinite(wanted)])
            totals.scale = max(totals.scale, float(finite.max(initial=0.0)))
            totals.total += float(difference.sum())
            totals.count += difference.size

    def checks(self) -> list[Check]:
        return [
            Check(
                name=check_name(output, group),
                unit=totals.group.unit,
                value=totals.largest,
                limit=totals.limit,
                passed=totals.largest <= totals.limit,
                reason=totals.problem or totals.tolerance.reason,
                mean=totals.total / totals.count if totals.count else None,
                samples=totals.samples,
                kind=self._kind,
            )
            for (output, group), totals in self._totals.items()
            if totals.samples
        ]

    def _pairs(
        self, reference: Arrays, converted: Arrays
    ) -> Iterator[tuple[_Totals, NDArray[Any], NDArray[Any] | None]]:
        for output in self._spec.outputs:
            for group in groups_of(output):
                totals = self._totals[output.name, group.name]
                yield totals, reference[output.name], converted.get(output.name)


def _require_covered(output: OutputSpec, shape: tuple[int, ...]) -> None:
    """Groups along an axis leave nothing of it out: what no group holds would never be compared."""
    groups = groups_of(output)
    axes = {group.axis for group in groups}
    if None in axes or len(axes) != 1:
        return
    axis = groups[0].axis or 0
    size = shape[axis]
    covered = {index for group in groups for index in range(*slice(group.start, group.stop).indices(size))}
    missing = sorted(set(range(size)) - covered)
    if missing:
        raise PluginError(
            f"The groups of output {output.name!r} leave out {len(missing)} of {size} along axis {axis} (the first: {missing[0]}).",
            hint="The adapter's model_spec has to give every part of an output a group, or no groups at all.",
        )
