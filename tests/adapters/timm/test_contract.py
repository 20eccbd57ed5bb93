"""The adapters keep the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from adaptrt.request import Exporter
from adaptrt.testing import AdapterContract


class TorchScriptEveryday:
    """The everyday suite exports by torchscript; by dynamo, tests/unit/testing exports a smaller network."""

    @pytest.fixture(params=["torchscript", pytest.param("dynamo", marks=pytest.mark.full)])
    def exporter(self, request: pytest.FixtureRequest) -> Exporter:
        name: Exporter = request.param
        return name


class TestSwin(TorchScriptEveryday, AdapterContract):
    adapter = "swin"

    @pytest.fixture
    def source(self, micro_file: Path) -> Path:
        return micro_file


class TestAnyModel(TorchScriptEveryday, AdapterContract):
    adapter = "timm"
    source = "test_resnet"
    imgsz = "32"
