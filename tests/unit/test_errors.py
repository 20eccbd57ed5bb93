"""Hints of the errors."""

from __future__ import annotations

from adaptrt.errors import did_you_mean


def test_a_hint_names_the_nearest_or_what_one_can_read() -> None:
    assert did_you_mean("conv", ["conf", "iou"]) == "Did you mean 'conf'?"
    assert did_you_mean("x", ["b", "a"]) == "Known: a, b."
    assert did_you_mean("x", []) == "None is known."
    many = did_you_mean("x", [f"{number:03}" for number in range(600)])
    assert many.startswith("Known: 000, 001, ")
    assert many.endswith(", 023 and 576 more.")
    long = did_you_mean("x", [f"{number:03}-{'y' * 60}" for number in range(600)])
    assert long.endswith(" and 596 more.")
    assert len(long) < 300
    assert did_you_mean("x", ["z" * 400]) == f"Known: {'z' * 400}."
