"""``met``: what happened to each case of the module's road; the hostile files of the selected tests run together, on first use."""

from __future__ import annotations

import sys

import pytest
from canary import Outcome, run_module


@pytest.fixture(scope="module")
def met(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    if not sys.platform.startswith("linux"):
        pytest.skip("forks with limits are Linux'")
    road = request.module.ROAD
    chosen = [
        item.callspec.params["case"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.module is request.module and "case" in item.callspec.params
    ]
    return run_module(road, chosen, tmp_path_factory.mktemp(road))
