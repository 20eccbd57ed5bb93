"""ONNX files, and the images that go into them, in inspect, lint, predict, build and evaluate."""

from __future__ import annotations

import pytest
from canary import Outcome, check, missing, parameters
from hostile.case import Case
from hostile.graphs import CASES

ROAD = "graphs"


@pytest.mark.parametrize("case", parameters(CASES))
def test_a_graph_is_data(case: Case, met: dict[str, Outcome]) -> None:
    if missing(case):
        pytest.skip(f"{', '.join(missing(case))} is not installed")
    check(case, met[case.name])
    assert "root:x:0" not in met[case.name].out + met[case.name].err  # of /etc/passwd
