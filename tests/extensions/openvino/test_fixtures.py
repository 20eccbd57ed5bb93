"""The trained networks of tests/fixtures as OpenVINO models, compared with the untouched networks on images."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("adaptrt_openvino", reason="the extension is not installed (pip install adaptrt-openvino)")
pytest.importorskip("openvino", reason="needs OpenVINO (pip install 'adaptrt-openvino[openvino]')")

import adaptrt

FIXTURES = Path(__file__).parents[2] / "fixtures"
NETWORKS = {
    "yolov5": ("ultralytics", FIXTURES / "yolov5n_shapes.pt", {"imgsz": 320}),
    "detr": ("mmdet", FIXTURES / "detr_shapes.pth", {}),
    "swin": ("timm", FIXTURES / "swin_shapes", {}),
}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    subprocess.run([sys.executable, FIXTURES / "draw_shapes.py", folder, "--count", "3", "--seed", "7"], check=True)
    return folder / "images" / "000001.jpg"


@pytest.mark.full
@pytest.mark.parametrize("batch", ["1:2:4", 2])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("adapter", list(NETWORKS))
def test_trained_networks(adapter: str, precision: str, batch: Any, image: Path, tmp_path: Path) -> None:
    framework, source, options = NETWORKS[adapter]
    pytest.importorskip(framework, reason=f"adapter {adapter} needs {framework}")
    report = adaptrt.convert(
        source,
        adapter=adapter,
        to="onnx,openvino",
        output=tmp_path / "out.onnx",
        precision=precision,
        batch=batch,
        image=image,
        html=False,
        **options,
    )
    assert [report.link(number).status for number in (2, 4, 5)] == ["passed"] * 3, report.link(4).reason
    (artifact,) = report.artifacts
    assert artifact.record["layers"].keys() <= {"f32", "i32"}
    assert (tmp_path / "out.openvino.xml").exists()
