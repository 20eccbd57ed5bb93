"""Adaptive max pooling with fixed sizes, and a network that needs it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import adaptrt
from adaptrt_mmdet.pooling import adaptive_max

for module in ("onnx", "onnxruntime"):
    pytest.importorskip(module, reason=f"a conversion needs {module}")

CONFIG = "libra-retinanet_r50_fpn_1x_coco"
NARROW = {
    "model.backbone.depth": "18",
    "model.backbone.base_channels": "8",
    "model.neck.0.in_channels": "[8,16,32,64]",
    "model.neck.0.out_channels": "16",
    "model.neck.1.in_channels": "16",
    "model.bbox_head.in_channels": "16",
    "model.bbox_head.feat_channels": "16",
    "model.bbox_head.num_classes": "3",
}


@pytest.mark.parametrize("sizes", [(12, 20), (6, 10), (5, 7), (1, 1), (11, 3), (12, 1)])
def test_the_same_as_torch(sizes: tuple[int, int]) -> None:
    values = torch.randn(2, 3, 12, 20, generator=torch.Generator().manual_seed(0))
    assert torch.equal(adaptive_max(values, sizes), torch.nn.functional.adaptive_max_pool2d(values, sizes))


class Levels(torch.nn.Module):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        size = values[..., ::3, ::3].shape[2:]
        return torch.nn.functional.adaptive_max_pool2d(values, output_size=size)


def test_the_exporter_cannot_express_it(tmp_path: Path) -> None:
    """The patch can go when this export works."""
    options = {"dynamo": False, "input_names": ["values"], "dynamic_axes": {"values": {0: "batch"}}}
    with pytest.raises(Exception, match="adaptive pooling"):
        torch.onnx.export(Levels(), (torch.randn(2, 3, 10, 16),), str(tmp_path / "a.onnx"), **options)


@pytest.mark.full
def test_a_whole_conversion(tmp_path: Path) -> None:
    """Levels of 12 x 20 down to 1 x 2 cells, which do not divide one another."""
    report = adaptrt.convert(
        CONFIG,
        adapter="mmdet",
        output=tmp_path / "libra.onnx",
        imgsz=(96, 160),
        batch="1:2:2",
        html=False,
        options={f"cfg.{key}": value for key, value in NARROW.items()},
    )
    assert [(link.number, link.status) for link in report.links if link.number in (1, 2)] == [
        (1, "passed"),
        (2, "passed"),
    ]
