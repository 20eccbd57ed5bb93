"""The adapters keep the contract, on networks of a few thousand weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ultralytics", reason="needs ultralytics")

from adaptrt.testing import AdapterContract


@pytest.fixture(scope="session")
def make_narrow(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A checkpoint of Ultralytics' config with an eighth of the channels and perturbed weights."""
    import torch
    import yaml
    from ultralytics import YOLO
    from ultralytics.utils import ROOT

    folder = tmp_path_factory.mktemp("narrow")

    def make(config: str) -> Path:
        path = folder / f"{Path(config).stem}.pt"
        if path.is_file():
            return path
        content: dict[str, Any] = yaml.safe_load((ROOT / "cfg" / "models" / config).read_text())
        content |= {"nc": 3, "scales": {"n": [0.33, 0.0625, 1024]}}
        written = folder / f"{Path(config).stem}n.yaml"
        written.write_text(yaml.safe_dump(content))
        yolo: Any = YOLO(str(written), task="detect")
        generator = torch.Generator().manual_seed(0)
        for key, value in yolo.model.state_dict().items():
            if "running_var" in key:
                value.copy_(1 + torch.rand(value.shape, generator=generator) / 2)
            elif value.dtype.is_floating_point and value.ndim and "dfl" not in key:
                value.add_(torch.randn(value.shape, generator=generator) * 0.05)
        yolo.save(path)
        return path

    return make


@pytest.mark.full
class TestYolov5(AdapterContract):
    adapter = "yolov5"
    imgsz = "64x96"

    @pytest.fixture
    def source(self, make_narrow: Callable[[str], Path]) -> Path:
        return make_narrow("v5/yolov5.yaml")


@pytest.mark.full
class TestClassic(AdapterContract):
    """A checkpoint of the classic repository, rebuilt without it."""

    adapter = "yolov5"
    imgsz = "64x96"

    @pytest.fixture
    def source(self, classic: Any) -> Path:
        path: Path = classic.save(classic.as_trained(classic.network()))
        return path


class TestYolo(AdapterContract):
    adapter = "yolo"
    imgsz = "64"

    @pytest.fixture
    def source(self, make_narrow: Callable[[str], Path]) -> Path:
        return make_narrow("v8/yolov8.yaml")

    @pytest.fixture(params=["torchscript", pytest.param("dynamo", marks=pytest.mark.full)])
    def exporter(self, request: pytest.FixtureRequest) -> str:
        """TestSwin runs both every day."""
        return str(request.param)
