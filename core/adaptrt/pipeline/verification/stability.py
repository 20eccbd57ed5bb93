"""What float32 leaves open of a sample: ties, ranks that change, and rounding errors that the model amplifies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt.specs import ModelSpec, Precision
from adaptrt.verify.compare import Comparison, rank_sensitive_groups
from adaptrt.verify.leeway import Leeway, deviations

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.pipeline.verification.samples import Sample
    from adaptrt.report import Check
    from adaptrt.specs.tensors import Arrays

_TRIES = 4
_ROUNDINGS = 3


def reference_instability(sample: Sample, converted: Arrays, spec: ModelSpec, precision: Precision) -> Check | None:
    """A failed check if perturbing the input by one rounding error changes the reference's outputs beyond the limit.

    ``None``: the sample counts, because it agrees, a group that is not ``rank_sensitive`` fails, or the reference is
    stable.
    """
    failed = {check.name for check in _checks(sample.reference, converted, spec, precision) if not check.passed}
    if not failed or not failed <= rank_sensitive_groups(spec):
        return None
    return _instability(sample, spec, precision)


def perturbed(sample: Sample, precision: Precision, tries: int = _TRIES) -> Iterator[Arrays]:
    """The reference's outputs for inputs that are perturbed by one rounding error; none if it cannot be run again."""
    if sample.again is None:
        return
    rng = np.random.default_rng(0)
    for _ in range(tries):
        yield sample.again({name: _nudged(array, precision, rng) for name, array in sample.given.items()})


def self_disagreement(failed: Sequence[Check], again: Iterable[Sequence[Check]]) -> Check | None:
    """The worst check of the reference with itself, if it disagrees with itself at least as much as with the converted model.

    ``failed`` are the checks of the converted model that fail, ``again`` those of the reference with perturbed inputs; shares.
    """
    worst: dict[str, Check] = {}
    for checks in again:
        for check in checks:
            if not check.passed and check.value < getattr(worst.get(check.name), "value", np.inf):
                worst[check.name] = check
    if any(check.name not in worst or worst[check.name].value > check.value for check in failed):
        return None
    return worst[failed[0].name]


def leeway_of(sample: Sample, spec: ModelSpec, precision: Precision) -> Leeway:
    """What rounding leaves open of the reference's outputs for this sample; measured when it is asked for."""
    return Leeway(
        cache(lambda: _deviations(sample)),
        cache(lambda: _ties(sample, precision)),
        cache(lambda: _instability(sample, spec, precision) is not None),
    )


def _deviations(sample: Sample) -> list[dict[str, NDArray[np.float64]]]:
    if sample.rounded is None:
        return []
    return [deviations(sample.reference, sample.rounded(sample.given, seed)) for seed in range(_ROUNDINGS)]


def _instability(sample: Sample, spec: ModelSpec, precision: Precision) -> Check | None:
    for moved in perturbed(sample, precision):
        for check in _checks(sample.reference, moved, spec, precision):
            if not check.passed:
                return check
    return None


def _ties(sample: Sample, precision: Precision) -> dict[str, NDArray[np.bool_]]:
    """The integers that the reference itself changes when its input is perturbed by one rounding error: two candidates have
    the same score there."""
    integers = {name: array for name, array in sample.reference.items() if array.dtype.kind in "iub"}
    if not integers or sample.again is None:
        return {}
    ties = {name: np.zeros(array.shape, np.bool_) for name, array in integers.items()}
    for moved in perturbed(sample, precision, 2 * _TRIES):
        for name, array in integers.items():
            if moved[name].shape == array.shape:
                ties[name] |= moved[name] != array
    return ties


def _checks(reference: Arrays, other: Arrays, spec: ModelSpec, precision: Precision) -> list[Check]:
    comparison = Comparison(spec, precision)
    comparison.add(reference, other)
    return comparison.checks()


def _nudged(array: NDArray[Any], precision: Precision, rng: np.random.Generator) -> NDArray[Any]:
    if array.dtype.kind != "f" or not array.size:
        return array
    step = precision.perturbation * float(np.abs(array).max())
    moved: NDArray[Any] = (array + step * rng.standard_normal(array.shape)).astype(array.dtype)
    return moved
