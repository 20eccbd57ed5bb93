"""Numbers as text."""

from __future__ import annotations

import pytest

from adaptrt.quantities import digits


@pytest.mark.parametrize(
    ("value", "count", "text"),
    [
        (0.026412, 3, "0.0264"), (12.345, 3, "12.3"), (999.4, 3, "999"), (999.6, 3, "1000"), (1980, 3, "1980"),
        (-12345.6, 3, "-12346"), (2.5e30, 3, "2.5e+30"), (1.17e-7, 2, "1.2e-07"), (123.4, 2, "123"), (0, 3, "0"),
    ],
)  # fmt: skip
def test_whole_numbers_have_no_exponent(value: float, count: int, text: str) -> None:
    assert digits(value, count) == text
