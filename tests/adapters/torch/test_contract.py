"""The adapter keeps the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from adaptrt.testing import AdapterContract


class TestImage(AdapterContract):
    adapter = "torch"
    options = ("decoder=classify",)
    imgsz = "16x24"

    @pytest.fixture
    def source(self, folder: Path) -> str:
        return f"{folder}/nets.py:ImageArray"


class TestSeveralInputs(AdapterContract):
    adapter = "torch"
    options = ("dtypes.ids=int64", "ranges.ids=[0,8]")
    shape = ("mask=B:1..4xN:2..5", "ids=B:1..4xN:2..5", "x=B:1..4xN:2..5x6")
    batch = None

    @pytest.fixture
    def source(self, folder: Path) -> str:
        return f"{folder}/nets.py:Tokens"


@pytest.mark.full
class TestSharedFirstAxis(AdapterContract):
    """``positions`` starts with the axis N, which is no batch."""

    adapter = "torch"
    shape = ("x=B:1..4xN:2..5x6", "positions=N:2..5")
    batch = None

    @pytest.fixture
    def source(self, folder: Path) -> str:
        return f"{folder}/nets.py:Positions"
