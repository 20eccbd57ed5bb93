"""What building a model leaves of the program's own settings."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

pytest.importorskip("adaptrt_mmdet", reason="the adapter is not installed (pip install adaptrt-mmdet)")


@pytest.fixture(params=[logging.NOTSET, logging.INFO, logging.CRITICAL])
def disabled(request: pytest.FixtureRequest) -> Iterator[int]:
    before = logging.root.manager.disable
    logging.disable(request.param)
    yield request.param
    logging.disable(before)


def test_logs_that_the_program_has_disabled_stay_disabled(disabled: int) -> None:
    pytest.importorskip("mmdet", reason="the adapter's framework is not installed")
    from adaptrt_mmdet.build import quiet

    with quiet():
        assert logging.root.manager.disable == max(disabled, logging.WARNING)
    assert logging.root.manager.disable == disabled
