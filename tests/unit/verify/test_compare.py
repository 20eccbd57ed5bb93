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
from adaptrt.specs.precisions import PRECISIONS
from adaptrt.verify.compare import Comparison, slice_group
from adaptrt.verify.leeway import Leeway
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
    exact, rounded = Tolerance(0.0, reason="the same"), Tolerance(5.0, reason="a tie")
    either = OutputGroup("labels", "values", tolerances={"fp32": exact, "*": rounded})
    found = [tolerance_of(either, precision) for precision in PRECISIONS.all()]
    assert (found.count(exact), found.count(rounded)) == (1, len(found) - 1)
    for precision in ("fp32", "tf32", "fp16", "bf16", "int8"):
        for unit in ("pixels", "scores", "logits", "values"):
            found = tolerance_of(OutputGroup("g", unit), precision_named(precision))  # type: ignore[arg-type]
            assert found.atol > 0
            assert found.reason


def logits(*shape: int, scale: float = 1.0, seed: int = 0) -> np.ndarray:
    return scale * np.random.default_rng(seed).standard_normal(shape)


LOGITS = ModelSpec(GROUPED.inputs, outputs=(OutputSpec("x", groups=(OutputGroup("x", "logits"),)),))


def logits_check(reference: np.ndarray, converted: np.ndarray) -> Check:
    return compare(({"x": reference}, {"x": converted}), spec=LOGITS)["x"]


def test_relative_tolerances_are_of_the_largest_value() -> None:
    big = logits(1, 40, scale=1000)
    check = logits_check(big, big + 0.05)
    assert check.limit == pytest.approx(1e-4 + 1e-4 * np.abs(big).max())
    assert check.passed
    assert check.allows == check.limit


@pytest.mark.parametrize("axis", [1, 2])
def test_channels_of_different_scales_have_separate_limits(axis: int) -> None:
    """Boxes in pixels beside scores, which nobody names, along either axis."""
    raw = np.concatenate([logits(1, 4, 300, scale=300), logits(1, 2, 300, scale=0.3)], 1)
    wrong = raw.copy()
    wrong[:, 4:] += 0.002
    raw, wrong = (array if axis == 1 else array.transpose(0, 2, 1) for array in (raw, wrong))
    check = logits_check(raw, wrong)
    assert not check.passed
    assert check.value == pytest.approx(0.002)
    assert check.limit == pytest.approx(1e-4 + 1e-4 * np.abs(raw[np.abs(raw) < 2]).max(), rel=1)
    right = raw.copy()
    right[np.abs(raw) > 20] += 0.01
    assert logits_check(raw, right).passed


@pytest.mark.parametrize("sentinel", [-1e9, -1e4, float(np.finfo(np.float32).min), -65504.0, math.inf, -math.inf])
def test_a_masked_logit_excuses_nothing_beside_it(sentinel: float) -> None:
    reference = logits(1, 10).astype(np.float32)
    reference[0, 3] = sentinel
    assert logits_check(reference, reference.copy()).passed
    others_wrong = reference.copy()
    others_wrong[0, :3] += 0.37
    check = logits_check(reference, others_wrong)
    assert not check.passed
    assert check.limit < 0.01
    assert check.allows is not None
    moved = reference.copy()
    moved[0, 3] = sentinel / 2 if math.isfinite(sentinel) else -sentinel
    assert not logits_check(reference, moved).passed


def test_what_lies_far_out_has_its_own_scale() -> None:
    reference = logits(1, 50)
    reference[0, :5] -= 1e6  # a mask that was added
    noisy = reference.copy()
    noisy[0, :5] += 0.06
    assert logits_check(reference, noisy).passed
    noisy[0, 9] += 0.06
    assert not logits_check(reference, noisy).passed


def test_what_is_small_by_chance_has_its_usual_scale() -> None:
    references = [{"x": logits(1, 3, seed=seed)} for seed in range(5)]
    small = {"x": references[0]["x"] * [1, 1e-6, 1]}
    comparison = Comparison(LOGITS, precision_named("fp32"), usual=references)
    comparison.add(small, {"x": small["x"] + 1.3e-4})
    assert comparison.checks()[0].passed


def test_whole_numbers_are_equal_or_not() -> None:
    spec = ModelSpec(GROUPED.inputs, outputs=(OutputSpec("x", dtype="int64"),))
    classes = np.arange(1000)[None] % 80
    wrong = classes.copy()
    wrong[0, 7] += 1
    check = compare(({"x": classes}, {"x": wrong}), spec=spec)["x"]
    assert (check.passed, check.value, check.unit) == (False, 0.001, "share")
    comparison = Comparison(spec, precision_named("fp32"))
    comparison.add({"x": classes}, {"x": wrong}, Leeway(ties=lambda: {"x": wrong != classes}))
    (check,) = comparison.checks()
    assert check.passed
    assert "1 ignored, since two candidates have the same score" in check.reason
    assert check.ignored == 0.001


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
    with pytest.raises(PluginError, match="do not cover"):
        compare(({"x": x}, {"x": x}), spec=spec)


arrays = hnp.arrays(np.float32, (2, 3), elements=st.floats(width=32))


@given(arrays)
def test_everything_equals_itself(array: np.ndarray) -> None:
    assert compare((outputs(logits=array), outputs(logits=array.copy())))["logits"].value == 0


@given(arrays, arrays)
def test_the_value_is_a_difference_and_none_passes_beyond_what_is_allowed(
    first: np.ndarray, second: np.ndarray
) -> None:
    check = compare((outputs(logits=first), outputs(logits=second)))["logits"]
    assert not math.isnan(check.value)
    if np.isfinite(first).all() and np.isfinite(second).all():
        largest = np.abs(first.astype(np.float64) - second.astype(np.float64)).max()
        assert check.value <= largest or check.value == math.inf
        assert not check.passed or largest <= check.allows
    elif not np.array_equal(first, second, equal_nan=True):
        assert not check.passed or np.array_equal(np.isfinite(first), np.isfinite(second))
