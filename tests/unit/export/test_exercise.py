"""Samples decide about a tracing hazard only where they take both ways."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="what is traced is torch's")
pytest.importorskip("onnx", reason="exporters write ONNX")

from torch import nn  # noqa: E402

from adaptrt import Dim, InputSpec, ModelSpec, OutputSpec  # noqa: E402
from adaptrt.export.eager import EagerRunner  # noqa: E402
from adaptrt.export.exercise import exercise  # noqa: E402
from adaptrt.export.torch_onnx import export_onnx  # noqa: E402
from adaptrt.graph.lint.source_locations import at  # noqa: E402

B, N, FOUR = Dim(1, 2, 4, "batch"), Dim(2, 4, 8, "n"), Dim.fixed(4)


class Branch(nn.Module):
    def forward(self, x: Any) -> Any:
        if x.mean() > 0.6:
            x = x * 2
        return x * 1


class Arrays(nn.Module):
    def forward(self, x: Any) -> Any:
        if x.numpy().max() > 8:
            x = -x
        return x * 1


class AsArray(nn.Module):
    def forward(self, x: Any) -> Any:
        return -x if np.asarray(x).max() > 8 else x * 1


class Threshold(nn.Module):
    """The value is taken at one line and decides at another."""

    def forward(self, x: Any) -> Any:
        top = x.max().item()
        y = x * 1
        if top > 8:
            y = y * 2
        return y


class Loop(nn.Module):
    def forward(self, x: Any) -> Any:
        y = x * 1
        while y.mean() < 2:
            y = y + 1
        return y


class Each(nn.Module):
    """As many steps as values are found."""

    def forward(self, x: Any) -> Any:
        y = x * 1
        for one in x[x > 8]:
            y = y + one
        return y


class Corners(nn.Module):
    """The parts are the numbers of a row, however many rows there are."""

    def forward(self, x: Any) -> Any:
        boxes = x[0][x[0, :, 0] > 0]
        left, top, right, bottom = boxes.unbind(-1)
        width, _ = torch.chunk(boxes, 2, dim=1)
        return x * (left + top + right + bottom).sum() + torch.split(width, 1, 1)[0].sum()


class Data(nn.Module):
    """The trace loses what is computed from ``.data``."""

    def forward(self, x: Any) -> Any:
        return x * 1 + (x.data.max() > 8).float()


class Built(nn.Module):
    def forward(self, x: Any) -> Any:
        return x * torch.tensor([x.shape[1], x.max() > 8])[1]


class Odd(nn.Module):
    def forward(self, x: Any) -> Any:
        if x.shape[1] % 2:
            x = x * 2
        return x * 1


def hazards_of(net: nn.Module, path: Path, samples: list[Any], middle: Dim = FOUR) -> list[Any]:
    spec = ModelSpec(inputs=(InputSpec("x", ((B, middle, FOUR),)),), outputs=(OutputSpec("y"),))
    hazards = export_onnx(
        net.eval(), {"x": torch.ones(2, 4, 4) / 2}, spec, path / "x.onnx", exporter="torchscript", opset=17
    )
    exercise(hazards, EagerRunner(net).run, [{"x": sample} for sample in samples])
    return hazards.findings(at)


def full(value: float, *shape: int) -> Any:
    return np.full(shape or (1, 4, 4), value, np.float32)


DARK, BRIGHT = full(0.1), full(9)


@pytest.mark.parametrize("net", [Branch, Arrays, AsArray, Threshold, Loop, Each])
def test_values_on_one_side_decide_nothing(net: Any, tmp_path: Path) -> None:
    one_side = [DARK, full(0.2)] if net is not Loop else [DARK, full(0.15)]
    for samples, decided in ((one_side, False), ([DARK, BRIGHT], True)):
        findings = [one for one in hazards_of(net(), tmp_path, samples) if one.rule != "trace-warning"]
        assert [(one.rule, one.exercised) for one in findings] == [("traced-value", decided)]


def test_parts_along_another_axis_than_the_one_that_values_decide(tmp_path: Path) -> None:
    assert hazards_of(Corners(), tmp_path, [DARK]) == []


@pytest.mark.parametrize("net", [Data, Built])
def test_other_ways_out_of_a_tensor_are_hazards(net: Any, tmp_path: Path) -> None:
    findings = hazards_of(net(), tmp_path, [DARK, DARK])
    assert {(one.rule, one.exercised) for one in findings} == {("traced-value", False)}


def test_conditions_on_sizes(tmp_path: Path) -> None:
    (finding,) = hazards_of(Odd(), tmp_path, [full(1, 1, 4, 4), full(1, 1, 8, 4)], N)
    assert (finding.rule, finding.exercised) == ("traced-size", False)
    (finding,) = hazards_of(Odd(), tmp_path, [full(1, 1, 4, 4), full(1, 1, 7, 4)], N)
    assert finding.exercised


def test_a_model_without_hazards_does_not_run_again(tmp_path: Path) -> None:
    spec = ModelSpec(inputs=(InputSpec("x", ((B, FOUR, FOUR),)),), outputs=(OutputSpec("y"),))
    hazards = export_onnx(
        nn.ReLU(), {"x": torch.ones(2, 4, 4)}, spec, tmp_path / "x.onnx", exporter="torchscript", opset=17
    )
    exercise(hazards, lambda _: pytest.fail("it ran"), [{"x": DARK}])
    assert hazards.findings(at) == []


def test_everything_is_as_before_afterwards(tmp_path: Path) -> None:
    tracer, item, tensor, split = sys.gettrace(), torch.Tensor.item, torch.tensor, torch.Tensor.split
    hazards_of(Threshold(), tmp_path, [DARK])
    assert sys.gettrace() is tracer
    assert torch.Tensor.item is item
    assert torch.tensor is tensor
    assert torch.Tensor.split is split
    assert not {"unbind", "chunk"} & {*vars(torch.Tensor)}
    assert "data" not in vars(torch.Tensor)
