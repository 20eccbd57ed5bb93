"""Checkpoints that want to run code, or to take all time and memory."""

from __future__ import annotations

import pytest
from canary import Outcome, check, missing, parameters
from hostile.case import Case
from hostile.checkpoints import CASES

ROAD = "checkpoints"


@pytest.mark.parametrize("case", parameters(CASES))
def test_a_checkpoint_is_data(case: Case, met: dict[str, Outcome]) -> None:
    if missing(case):
        pytest.skip(f"{', '.join(missing(case))} is not installed")
    check(case, met[case.name])
