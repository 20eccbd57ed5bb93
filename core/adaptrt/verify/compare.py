"""Compares outputs group by group: a single number over mixed units would be meaningless."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from adaptrt.errors import PluginError
from adaptrt.report import Check, CheckKind
from adaptrt.specs import ModelSpec, OutputGroup, OutputSpec, Precision, Tolerance
from adaptrt.verify.leeway import Leeway
from adaptrt.verify.scales import Scales, element_limits, sentinels, usual_scales
from adaptrt.verify.tolerances import tolerance_of

if TYPE_CHECKING:
    from adaptrt.specs.tensors import Arrays


# A result that is off by no more than a few times what rounding its weights differently changes of the model's own result
# is right. An error of this many times the limit of its precision is one, however the model amplifies rounding errors.
_ROUNDING_ERRORS, _MOST_WIDENED = 4.0, 8.0
_TINY = 1e-300  # of a limit of 0, that of an output that is 0 throughout


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
    """Running totals of one group. ``value`` and ``limit`` belong to the element closest to its limit."""

    group: OutputGroup
    tolerance: Tolerance
    usual: Mapping[tuple[int, ...], Scales] = field(default_factory=dict)
    value: float = 0.0
    limit: float = 0.0
    used: float = -1.0  # value over limit
    allows: float = 0.0
    total: float = 0.0
    count: int = 0
    samples: int = 0
    ties: int = 0
    rounding: float = 0.0  # the model's own rounding errors, in multiples of the limits
    widened: float = 1.0  # factor by which the limits were multiplied
    whole: bool = False  # integers, which are compared exactly
    problem: str = ""  # why the difference is infinite

    def fail(self, problem: str) -> None:
        self.value = self.used = float("inf")
        self.problem = self.problem or problem

    @property
    def passed(self) -> bool:
        return self.used <= 1.0

    @property
    def detail(self) -> str:
        if self.passed or self.rounding <= 1.0:
            return ""
        return f"Rounding errors of the model itself reach {self.rounding:.2g} times the limit: float32 does not determine its result"


class Comparison:
    """Collects differences over samples; ``checks`` gives one check for each group.

    ``kind`` is that of the checks; ``tolerance`` overrides those of the groups; ``usual`` are references whose scale counts
    too, so that a value that happens to be small in one sample does not tighten its limit.
    """

    def __init__(
        self,
        spec: ModelSpec,
        precision: Precision,
        *,
        kind: CheckKind = "samples",
        tolerance: Tolerance | None = None,
        usual: Sequence[Arrays] = (),
    ) -> None:
        self._kind = kind
        self._precision = precision
        self._tolerance = tolerance
        self._usual = usual
        self._totals = {
            (output.name, group.name): _Totals(
                group,
                own := tolerance or tolerance_of(group, precision),
                usual_scales(_float_groups(usual, output.name, group), group.axis) if own.rtol else {},
            )
            for output in spec.outputs
            for group in groups_of(output)
        }
        self.spec = spec

    def failing(self, reference: Arrays, converted: Arrays, leeway: Leeway | None = None) -> set[str]:
        """The names of the checks that fail for one sample alone."""
        one = Comparison(self.spec, self._precision, kind=self._kind, tolerance=self._tolerance, usual=self._usual)
        one.add(reference, converted, leeway)
        return {check.name for check in one.checks() if not check.passed}

    def add(self, reference: Arrays, converted: Arrays, leeway: Leeway | None = None) -> None:
        """Add one sample, or one batch of samples. Different shapes, NaN and infinity count as an infinite difference.

        ``leeway`` is what rounding leaves open of the sample's result, measured only if a limit is exceeded.
        """
        leeway = leeway or Leeway()
        for output in self.spec.outputs:
            _require_covered(output, reference[output.name].shape)
        for output, totals, expected, actual in self._pairs(reference, converted):
            totals.samples += 1
            if actual is None or actual.shape != expected.shape:
                given_shape = "no output" if actual is None else f"shape {actual.shape}"
                totals.fail(f"{given_shape} instead of shape {expected.shape}")
                continue
            if not expected.size:
                continue
            wanted = np.atleast_1d(slice_group(expected, totals.group))
            given = np.atleast_1d(slice_group(actual, totals.group))
            if not wanted.size:  # a group beyond the output would agree about nothing
                totals.fail("the group is outside the output")
            elif wanted.dtype.kind in "iub" and not (totals.group.tolerances or {}).get(self._precision.name):
                self._add_whole(totals, wanted, given, output.name, leeway)
            else:
                self._add_floats(
                    totals,
                    wanted.astype(np.float64, copy=False),
                    given.astype(np.float64, copy=False),
                    output.name,
                    leeway,
                )

    def _add_floats(
        self,
        totals: _Totals,
        wanted: NDArray[np.float64],
        given: NDArray[np.float64],
        name: str,
        leeway: Leeway,
    ) -> None:
        limits = element_limits(wanted, totals.tolerance, totals.group.axis, totals.usual)
        with np.errstate(invalid="ignore"):
            difference = np.abs(wanted - given)
        difference[(wanted == given) | (np.isnan(wanted) & np.isnan(given))] = 0.0  # equal infinities differ by NaN
        fixed = sentinels(wanted)
        if self._precision.reduced and fixed.any():  # whose own sentinel may be the infinity of the type
            difference[fixed & (np.abs(given) >= 6e4) & (np.sign(given) == np.sign(wanted))] = 0.0
        if np.isnan(difference).any() or np.isinf(difference).any():
            totals.fail("NaN or infinity that does not match the reference")
        wrong = fixed & (difference != 0)
        if wrong.any():
            at = np.argmax(wrong)
            totals.fail(f"{given.flat[at]:.6g} instead of the mask value {wanted.flat[at]:.6g}")
        with np.errstate(divide="ignore", invalid="ignore"):
            used = np.where(difference > 0, difference / limits, 0.0)
        worst = int(np.argmax(used))
        if not self._precision.reduced and float(used.flat[worst]) > 1.0:
            deviations = [slice_group(one[name], totals.group) for one in leeway.deviations() if name in one]
            wider = self._widened(totals, wanted, limits, [np.atleast_1d(one) for one in deviations])
            if (difference <= wider).all():
                totals.widened = max(totals.widened, float((wider / np.maximum(limits, _TINY)).max()))
                limits, used = wider, np.where(difference > 0, difference / np.maximum(wider, _TINY), 0.0)
                worst = int(np.argmax(used))
        if float(used.flat[worst]) > totals.used:
            totals.used, totals.value = float(used.flat[worst]), float(difference.flat[worst])
            totals.limit = float(limits.flat[worst])
        if totals.used <= 0:
            totals.limit = max(totals.limit, float(limits.max()))
        totals.allows = max(totals.allows, float(limits.max()))
        totals.total += float(difference.sum())
        totals.count += difference.size

    def _widened(
        self,
        totals: _Totals,
        wanted: NDArray[np.float64],
        limits: NDArray[np.float64],
        deviations: Sequence[NDArray[np.float64]],
    ) -> NDArray[np.float64]:
        """The limits, widened where the model's own rounding errors exceed them, but not without end."""
        own = tolerance_of(totals.group, self._precision)
        most = limits
        if own is not totals.tolerance:
            most = np.maximum(limits, element_limits(wanted, own, totals.group.axis, totals.usual))
        rounding = _rounding_errors(wanted, limits, deviations)
        totals.rounding = max(totals.rounding, rounding)
        if not np.isfinite(rounding):
            return np.asarray(_MOST_WIDENED * most)
        return np.asarray(np.minimum(limits * max(1.0, _ROUNDING_ERRORS * rounding), _MOST_WIDENED * most))

    def _add_whole(self, totals: _Totals, wanted: NDArray[Any], given: NDArray[Any], name: str, leeway: Leeway) -> None:
        """Integers are compared exactly; the value is the fraction that differs."""
        totals.whole = True
        wrong = wanted != given
        ties = leeway.ties().get(name) if wrong.any() else None
        if ties is not None:
            undecided = np.atleast_1d(slice_group(ties, totals.group))
            totals.ties += int((wrong & undecided).sum())
            wrong = wrong & ~undecided
        share = float(wrong.mean())
        # reduced precision moves scores, and with them the largest one
        totals.limit = 1 - self._precision.limits.get("pixel_accuracy", 1.0) if self._precision.reduced else 0.0
        used = 0.0 if not share else share / totals.limit if totals.limit else float("inf")
        if used > totals.used:
            totals.used, totals.value = used, share
        totals.total += float(wrong.sum())
        totals.count += wrong.size

    def checks(self) -> list[Check]:
        return [
            Check(
                name=check_name(output, group),
                unit="share" if totals.whole else totals.group.unit,
                value=totals.value,
                limit=totals.limit,
                passed=totals.passed,
                reason=totals.problem or _reason(totals),
                mean=totals.total / totals.count if totals.count else None,
                samples=totals.samples,
                kind=self._kind,
                allows=None if totals.whole else totals.allows,
                widened=totals.widened,
                ignored=totals.ties / totals.count if totals.count else 0.0,
                detail=totals.detail,
            )
            for (output, group), totals in self._totals.items()
            if totals.samples
        ]

    def _pairs(
        self, reference: Arrays, converted: Arrays
    ) -> Iterator[tuple[OutputSpec, _Totals, NDArray[Any], NDArray[Any] | None]]:
        for output in self.spec.outputs:
            for group in groups_of(output):
                totals = self._totals[output.name, group.name]
                yield output, totals, reference[output.name], converted.get(output.name)


def _rounding_errors(
    wanted: NDArray[np.float64], limits: NDArray[np.float64], deviations: Sequence[NDArray[np.float64]]
) -> float:
    """The largest deviation by other roundings of the model, in multiples of the limits."""
    ordinary = ~sentinels(wanted)
    largest = 0.0
    for one in deviations:
        if one.shape == wanted.shape:
            largest = max(largest, float((one / np.maximum(limits, _TINY))[ordinary].max(initial=0.0)))
    return largest


def rank_sensitive_groups(spec: ModelSpec) -> set[str]:
    """The names of the checks of outputs whose order or selection depends on a ranking."""
    return {
        check_name(output.name, group.name)
        for output in spec.outputs
        for group in groups_of(output)
        if group.rank_sensitive
    }


def _reason(totals: _Totals) -> str:
    if not totals.whole and totals.widened > 1:
        return f"{totals.tolerance.reason}; widened by a factor of {totals.widened:.2g}, since rounding errors of the model itself exceed it"
    if not totals.whole:
        return totals.tolerance.reason
    ties = f"; {totals.ties} ignored, since two candidates have the same score there" if totals.ties else ""
    return f"fraction of integers that differ; integers are compared exactly{ties}"


def _float_groups(references: Sequence[Arrays], name: str, group: OutputGroup) -> Iterator[NDArray[np.float64]]:
    for one in references:
        array = one.get(name)
        if array is not None and array.dtype.kind == "f":
            yield np.atleast_1d(slice_group(array, group)).astype(np.float64, copy=False)


def _require_covered(output: OutputSpec, shape: tuple[int, ...]) -> None:
    """Require that the groups along an axis cover it: an index without a group would never be compared."""
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
            f"The groups of output {output.name!r} do not cover {len(missing)} of {size} indices along axis {axis} (first: {missing[0]}).",
            hint="In the adapter's model_spec, define groups that cover the whole output, or none.",
        )
