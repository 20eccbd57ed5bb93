"""Where Python turns a tensor into a number while it is traced: found with file and line, and only where it matters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from adaptrt import Dim, ExportError, InputSpec, ModelSpec, OutputSpec
from adaptrt.export.torch_onnx import export_onnx
from adaptrt.graph.lint.places import at
from adaptrt.report import Finding

B, N, FOUR = Dim(1, 2, 4, "batch"), Dim(2, 4, 8, "n"), Dim.fixed(4)


class Decides(nn.Module):
    def forward(self, x: Any) -> Any:
        if x.sum() > 0:
            x = x * 2
        return x


class Reads(nn.Module):
    def forward(self, x: Any) -> Any:
        return x.reshape(-1, int(x.shape[1]) * int(x.shape[2]))


class CountsBatch(nn.Module):
    def forward(self, x: Any) -> Any:
        for index in range(x.shape[0]):
            x = x + index
        return x


class Item(nn.Module):
    def forward(self, x: Any) -> Any:
        return x * x.mean().item()


class Weighs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("times", torch.tensor(2))

    def forward(self, x: Any) -> Any:
        for _ in range(int(self.times)):
            x = x + 1
        return x


class Constant(nn.Module):
    def forward(self, x: Any) -> Any:
        return x + torch.tensor([1.0, 2.0, 3.0, 4.0]) * torch.from_numpy(np.ones(4, np.float32))


def findings(net: nn.Module, path: Path, middle: Dim = FOUR) -> list[Finding]:
    spec = ModelSpec(inputs=(InputSpec("x", ((B, middle, FOUR),)),), outputs=(OutputSpec("y"),))
    x = torch.ones(2, 4, 4)
    traps = export_onnx(net.eval(), {"x": x}, spec, path / "x.onnx", exporter="torchscript", opset=17)
    return traps.findings(at)


@pytest.mark.parametrize(
    ("net", "rule", "how", "code"),
    [
        (Decides, "traced-value", "a condition", "if x.sum() > 0:"),
        (Item, "traced-value", ".item()", "return x * x.mean().item()"),
        (CountsBatch, "traced-size", "an index or a range", "for index in range(x.shape[0]):"),
    ],
)
def test_traps_are_found_with_their_line(net: type[nn.Module], rule: str, how: str, code: str, tmp_path: Path) -> None:
    (finding,) = findings(net(), tmp_path)
    assert (finding.rule, finding.severity) == (rule, "warning")
    assert how in finding.message
    (place,) = finding.places
    assert place.file.endswith("test_traps.py")
    assert place.code == code
    assert finding.advice


def test_sizes_of_fixed_axes_are_what_the_rules_ask_for(tmp_path: Path) -> None:
    assert findings(Reads(), tmp_path) == []
    (finding,) = findings(Reads(), tmp_path, N)
    assert (finding.rule, finding.count) == ("traced-size", 2)


def test_numbers_out_of_weights_are_constants(tmp_path: Path) -> None:
    assert findings(Weighs(), tmp_path) == []


def test_constants_made_of_numbers_are_none(tmp_path: Path) -> None:
    assert findings(Constant(), tmp_path) == []


def test_everything_is_as_before_afterwards(tmp_path: Path) -> None:
    before = [getattr(torch.Tensor, name) for name in ("__bool__", "__int__", "item")], torch._C._jit_onnx_log
    findings(Decides(), tmp_path)
    assert ([getattr(torch.Tensor, name) for name in ("__bool__", "__int__", "item")], torch._C._jit_onnx_log) == before


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    findings(Decides(), tmp_path)
    assert capfd.readouterr() == ("", "")


def test_dynamo_fails_at_the_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    spec = ModelSpec(inputs=(InputSpec("x", ((B, FOUR, FOUR),)),), outputs=(OutputSpec("y"),))
    with pytest.raises(ExportError) as caught:
        export_onnx(Decides(), {"x": torch.ones(2, 4, 4)}, spec, tmp_path / "x.onnx", exporter="dynamo", opset=18)
    assert "test_traps.py:" in caught.value.message
    assert "(if x.sum() > 0:)" in caught.value.message
    assert "torch.where" in (caught.value.hint or "")
