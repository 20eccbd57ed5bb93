"""Comparisons: one number for each group, and nothing that is wrong passes for right."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from adaptrt.errors import PluginError
from adaptrt.report import Check
from adaptrt.specs import InputSpec, ModelSpec, OutputGroup, OutputSpec, Tolerance, precision_named
from adaptrt.verify.compare import Comparison, slice_group
from adaptrt.verify.tolerances import tolerance_of

GROUPED = ModelSpec(
    (InputSpec.image(32, 32),),
    outputs=(
        OutputSpec(
            "out",
            groups=(
                OutputGroup("boxes", "pixels", axis=1, start=0, stop=4),
                OutputGroup("scores", "scores", axis=1, start=4),
            ),
        ),
        OutputSpec("logits", groups=(OutputGroup("logits", "logits"),)),
        OutputSpec("plain"),
    ),
)


def outputs(**changed: np.ndarray) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    found = {
        "out": rng.random((2, 7, 5), np.float32),
        "logits": rng.standard_normal((2, 3)).astype(np.float32),
        "plain": rng.random((2, 4), np.float32),
    }
    return {name: changed.get(name, array) for name, array in found.items()}


def compare(*pairs: tuple[dict[str, np.ndarray], dict[str, np.ndarray]], spec: ModelSpec = GROUPED) -> dict[str, Check]:
    comparison = Comparison(spec, precision_named("fp32"))
    for reference, converted in pairs:
        comparison.add(reference, converted)
    return {check.name: check for check in comparison.checks()}


def test_each_group_has_its_own_number_and_limit() -> None:
    wrong = outputs()["out"].copy()
    wrong[0, 2, 3] += 0.04  # a pixel: fine
    wrong[1, 5, 0] += 0.0005  # a score: not fine
    checks = compare((outputs(), outputs(out=wrong)))
    assert list(checks) == ["out: boxes", "out: scores", "logits", "plain"]
    assert checks["out: boxes"].value == pytest.approx(0.04, abs=1e-6)
    assert checks["out: boxes"].passed
    assert checks["out: scores"].value == pytest.approx(0.0005, abs=1e-6)
    assert not checks["out: scores"].passed
    assert [check.unit for check in checks.values()] == ["pixels", "scores", "logits", "values"]
    assert all(check.reason for check in checks.values())


def test_the_worst_sample_counts() -> None:
    slightly, badly = (outputs(plain=outputs()["plain"] + error) for error in (1e-5, 1e-2))
    checks = compare((outputs(), slightly), (outputs(), badly), (outputs(), outputs()))
    assert checks["plain"].value == pytest.approx(1e-2, rel=1e-3)
    assert checks["plain"].samples == 3
    assert checks["plain"].mean == pytest.approx((1e-5 + 1e-2) / 3, rel=1e-2)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_infinitely_wrong(bad: float) -> None:
    wrong = outputs()["logits"].copy()
    wrong[1, 1] = bad
    check = compare((outputs(), outputs(logits=wrong)))["logits"]
    assert check.value == math.inf
    assert not check.passed
    check = compare((outputs(logits=wrong), outputs()))["logits"]
    assert not check.passed


@pytest.mark.parametrize("same", [math.nan, math.inf, -math.inf])
def test_what_the_reference_gives_too_is_right(same: float) -> None:
    both = outputs()["logits"].copy()
    both[0, 0] = same
    check = compare((outputs(logits=both), outputs(logits=both.copy())))["logits"]
    assert (check.value, check.passed) == (0.0, True)
    assert check.limit is not None
    assert math.isfinite(check.limit)


def test_infinities_of_different_sign() -> None:
    plus, minus = np.full((2, 3), np.inf, np.float32), np.full((2, 3), -np.inf, np.float32)
    assert not compare((outputs(logits=plus), outputs(logits=minus)))["logits"].passed


def test_other_shapes_are_infinitely_wrong() -> None:
    for wrong in (np.zeros((2, 4), np.float32), np.zeros((1, 3), np.float32), np.zeros(3, np.float32)):
        check = compare((outputs(), outputs(logits=wrong)))["logits"]
        assert (check.value, check.passed) == (math.inf, False)
        assert "instead of" in check.reason


def test_a_single_number_is_compared_too() -> None:
    spec = ModelSpec((InputSpec.image(32, 32),), outputs=(OutputSpec("total"),))
    one, other = {"total": np.float32(2.5).reshape(())}, {"total": np.float32(2.75).reshape(())}
    assert compare((one, one), spec=spec)["total"].passed
    check = compare((one, other), spec=spec)["total"]
    assert (check.value, check.passed) == (0.25, False)


def test_a_missing_output_is_infinitely_wrong() -> None:
    converted = outputs()
    del converted["plain"]
    check = compare((outputs(), converted))["plain"]
    assert (check.value, check.passed) == (math.inf, False)


def test_empty_outputs_agree() -> None:
    empty = np.zeros((2, 0), np.float32)
    check = compare((outputs(plain=empty), outputs(plain=empty)))["plain"]
    assert (check.value, check.passed, check.mean) == (0.0, True, None)


def test_integers_and_booleans() -> None:
    labels = np.array([[1, 2, 3]], np.int64)
    spec = ModelSpec(GROUPED.inputs, outputs=(OutputSpec("labels", dtype="int64"), OutputSpec("mask", dtype="bool")))
    mask = np.array([True, False])
    right = compare(({"labels": labels, "mask": mask}, {"labels": labels.copy(), "mask": mask.copy()}), spec=spec)
    assert all(check.passed for check in right.values())
    wrong = compare(({"labels": labels, "mask": mask}, {"labels": labels + 1, "mask": ~mask}), spec=spec)
    assert not any(check.passed for check in wrong.values())


def test_a_type_that_rounds_differently_is_compared_by_value() -> None:
    converted = outputs(plain=outputs()["plain"].astype(np.float64))
    assert compare((outputs(), converted))["plain"].passed


def test_tolerances() -> None:
    group = OutputGroup("boxes", "pixels", tolerances={"fp16": Tolerance(3.0, reason="ours")})
    assert tolerance_of(group, precision_named("fp16")) == Tolerance(3.0, reason="ours")
    assert tolerance_of(group, precision_named("fp32")).atol == 0.05
    for precision in ("fp32", "tf32", "fp16", "bf16", "int8"):
        for unit in ("pixels", "scores", "logits", "values"):
            found = tolerance_of(OutputGroup("g", unit), precision_named(precision))  # type: ignore[arg-type]
            assert found.atol > 0
            assert found.reason


def test_relative_tolerances_are_of_the_largest_value() -> None:
    big = np.array([[1000.0, 0.001]], np.float32)
    spec = ModelSpec(GROUPED.inputs, outputs=(OutputSpec("x", groups=(OutputGroup("x", "logits"),)),))
    check = compare(({"x": big}, {"x": big + np.float32(0.05)}), spec=spec)["x"]
    assert check.limit == pytest.approx(1e-4 + 1e-4 * 1000)
    assert check.passed


def test_slices() -> None:
    array = np.arange(24).reshape(2, 3, 4)
    assert slice_group(array, OutputGroup("all", "values")) is array
    np.testing.assert_array_equal(
        slice_group(array, OutputGroup("a", "values", axis=-1, start=1, stop=3)), array[..., 1:3]
    )
    np.testing.assert_array_equal(slice_group(array, OutputGroup("b", "values", axis=1, start=2)), array[:, 2:])


@pytest.mark.parametrize(("start", "stop"), [(9, None), (0, 3), (1, None)])
def test_groups_that_leave_a_part_out_are_an_error_not_a_pass(start: int, stop: int | None) -> None:
    """What no group holds would never be compared, and count as equal."""
    group = OutputGroup("g", "pixels", axis=1, start=start, stop=stop)
    spec = ModelSpec(GROUPED.inputs, outputs=(OutputSpec("x", groups=(group,)),))
    x = np.ones((1, 4), np.float32)
    with pytest.raises(PluginError, match="leave out"):
        compare(({"x": x}, {"x": x}), spec=spec)


arrays = hnp.arrays(np.float32, (2, 3), elements=st.floats(width=32))


@given(arrays)
def test_everything_equals_itself(array: np.ndarray) -> None:
    assert compare((outputs(logits=array), outputs(logits=array.copy())))["logits"].value == 0


@given(arrays, arrays)
def test_the_value_is_the_largest_difference(first: np.ndarray, second: np.ndarray) -> None:
    check = compare((outputs(logits=first), outputs(logits=second)))["logits"]
    assert not math.isnan(check.value)
    if np.isfinite(first).all() and np.isfinite(second).all():
        expected = np.abs(first.astype(np.float64) - second.astype(np.float64)).max()
        assert check.value == pytest.approx(expected)
    elif not np.array_equal(first, second, equal_nan=True):
        assert not check.passed or np.array_equal(np.isfinite(first), np.isfinite(second))
