"""The adapters keep the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from adaptrt.testing import AdapterContract


class TestSwin(AdapterContract):
    adapter = "swin"

    @pytest.fixture
    def source(self, micro_file: Path) -> Path:
        return micro_file


class TestAnyModel(AdapterContract):
    adapter = "timm"
    source = "test_resnet"
    imgsz = "32"
