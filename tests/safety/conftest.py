"""``met``: what happened to each case of the module's road; its hostile files are run together, when first asked for."""

from __future__ import annotations

import sys

import pytest
from canary import Outcome, run_module


@pytest.fixture(scope="module")
def met(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    if not sys.platform.startswith("linux"):
        pytest.skip("forks with limits are Linux'")
    road = request.module.ROAD
    return run_module(road, request.module.CASES, tmp_path_factory.mktemp(road))
