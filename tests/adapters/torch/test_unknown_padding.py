"""NMS in the graph of a detector whose decoder clips boxes to the image: the graph does not know where padding begins."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import adaptrt
from adaptrt.pipeline.describe_nms import CLIPPED_TO_INPUT

pytest.importorskip("torch", reason="a network is converted")
pytest.importorskip("onnxruntime", reason="the file is run")

NETWORK = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.pool, self.layer = nn.AvgPool2d(8), nn.Conv2d(3, 4, 1)

    def forward(self, images):
        found = self.layer(self.pool(images)).flatten(2).transpose(1, 2)
        cells = torch.arange(64.0)
        centers = torch.stack([cells % 8, cells // 8], -1) * 8 + 4
        half = 8 + 8 * found[..., :2].sigmoid()
        return torch.cat([centers - half, centers + half], -1), found[..., 2:].sigmoid()

def build():
    return Net()
"""


def test_it_is_recorded_and_reported_of_each_padded_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "boxnet.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    cv2.imwrite("square.png", pixels)
    cv2.imwrite("wide.png", pixels[:40])
    report = adaptrt.convert(
        "boxnet:build",
        adapter="torch",
        shape="images=1..2x3x64x64",
        options={"decoder": "box_scores", "clip": True, "resize": "letterbox", "conf": 0.3},
        output="ended.onnx",
        exporter="torchscript",
        nms=True,
        verify="quick",
        html=False,
    )
    assert CLIPPED_TO_INPUT in report.warnings
    assert report.spec is not None
    assert report.spec.decoder is not None
    assert report.spec.decoder.params["clipped_to"] == "input"
    with adaptrt.load("ended.onnx") as model:
        (found,) = model("square.png")
        assert len(found) > 5
        assert model.last_warnings == ()
        model(["square.png", "wide.png"])
        (warning,) = model.last_warnings
        assert warning.startswith("Boxes of image 2 of the batch that extend into the padding")
    built = adaptrt.build(
        "ended.onnx", output="half.onnx", to="onnx", precision="fp16", target="10", verify="quick", html=False
    )
    assert CLIPPED_TO_INPUT in built.warnings
