"""Whether a sample is usable: a model that ranks or selects is unstable if two candidates are nearly equal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt.specs import ModelSpec, Precision
from adaptrt.verify.compare import Comparison, check_name, groups_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.pipeline.verification.samples import Sample
    from adaptrt.report import Check

    Arrays = Mapping[str, NDArray[Any]]

_TRIES = 4


def reference_instability(sample: Sample, converted: Arrays, spec: ModelSpec, precision: Precision) -> Check | None:
    """A failed check if perturbing the input by one rounding error changes the reference's outputs beyond the limit.

    ``None``: the sample counts, because it agrees, a group that is not ``rank_sensitive`` fails, or the reference is
    stable.
    """
    failed = {check.name for check in _checks(sample.reference, converted, spec, precision) if not check.passed}
    if not failed or sample.again is None or not failed <= _rank_sensitive(spec):
        return None
    rng = np.random.default_rng(0)
    for _ in range(_TRIES):
        moved = sample.again({name: _nudged(array, precision, rng) for name, array in sample.inputs.items()})
        for check in _checks(sample.reference, moved, spec, precision):
            if not check.passed:
                return check
    return None


def integer_ties(sample: Sample, converted: Arrays, precision: Precision) -> dict[str, NDArray[np.bool_]]:
    """The integers that the reference itself changes when its input is perturbed by one rounding error: two candidates have
    the same score there. Only outputs that differ are looked into."""
    differ = [
        name
        for name, array in sample.reference.items()
        if array.dtype.kind in "iub" and name in converted and converted[name].shape == array.shape
        and not np.array_equal(array, converted[name])
    ]  # fmt: skip
    if not differ or sample.again is None:
        return {}
    rng = np.random.default_rng(0)
    ties = {name: np.zeros(sample.reference[name].shape, np.bool_) for name in differ}
    for _ in range(2 * _TRIES):
        moved = sample.again({name: _nudged(array, precision, rng) for name, array in sample.inputs.items()})
        for name in differ:
            if moved[name].shape == ties[name].shape:
                ties[name] |= moved[name] != sample.reference[name]
    return ties


def _checks(reference: Arrays, other: Arrays, spec: ModelSpec, precision: Precision) -> list[Check]:
    comparison = Comparison(spec, precision)
    comparison.add(reference, other)
    return comparison.checks()


def _rank_sensitive(spec: ModelSpec) -> set[str]:
    return {
        check_name(output.name, group.name)
        for output in spec.outputs
        for group in groups_of(output)
        if group.rank_sensitive
    }


def _nudged(array: NDArray[Any], precision: Precision, rng: np.random.Generator) -> NDArray[Any]:
    if array.dtype.kind != "f" or not array.size:
        return array
    step = precision.perturbation * float(np.abs(array).max())
    moved: NDArray[Any] = (array + step * rng.standard_normal(array.shape)).astype(array.dtype)
    return moved
