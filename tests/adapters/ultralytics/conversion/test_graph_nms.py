"""NMS in the graph of a trained detector, on drawn images."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import adaptrt

pytest.importorskip("ultralytics", reason="the adapter yolov5 needs it")

FIXTURES = Path(__file__).parents[3] / "fixtures"


@pytest.mark.full
def test_it_is_numpys_nms_on_a_trained_networks_outputs(tmp_path: Path) -> None:
    command = [sys.executable, str(FIXTURES / "draw_shapes.py"), str(tmp_path), "--count", "1", "--seed", "7"]
    subprocess.run(command, check=True, capture_output=True)
    report = adaptrt.convert(
        FIXTURES / "yolov5n_shapes.pt", adapter="yolov5", output=tmp_path / "best.onnx", imgsz=320, batch="1:2:3", to="onnx",
        image=next((tmp_path / "images").iterdir()), verify="quick", options={"conf": 0.01}, html=False,
        nms=True,
    )  # fmt: skip
    (check,) = [one for one in report.link(2).checks if "identical to NumPy NMS" in one.name]
    assert check.passed
    assert check.value == 1.0
    assert check.samples >= 2
    assert not any("did not converge" in warning for warning in report.warnings)
