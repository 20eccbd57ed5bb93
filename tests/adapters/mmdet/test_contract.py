"""What every adapter keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("mmdet", reason="needs mmdet")

from narrow_detr import FIXTURE

from adaptrt.testing import AdapterContract


class TestDetr(AdapterContract):
    adapter = "detr"
    imgsz = "64x96"

    @pytest.fixture
    def source(self) -> Path:
        return FIXTURE

    @pytest.fixture(params=["torchscript", pytest.param("dynamo", marks=pytest.mark.full)])
    def exporter(self, request: pytest.FixtureRequest) -> str:
        """TestSwin runs both every day."""
        return str(request.param)


@pytest.mark.full
class TestMmdet(AdapterContract):
    adapter = "mmdet"
    source = "rtmdet_tiny_8xb32-300e_coco"
    imgsz = "64x96"
