"""``--set part=``: a model of several parts, one at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import adaptrt
from adaptrt import UsageError

TWO = """
import torch
from torch import nn

class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Conv2d(3, 4, 4, stride=4)
        self.heads = nn.ModuleList([nn.Linear(4, 2), nn.Linear(4, 3)])

    def forward(self, images):
        features = self.encoder(images).mean((2, 3))
        return [head(features) for head in self.heads]
"""


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("two.py").write_text(TWO)
    return tmp_path


@pytest.mark.parametrize(
    ("part", "shape", "sizes"),
    [("encoder", "input=1..3x3x16x16", ("batch", 4, 4, 4)), ("heads.1", "input=1..3x4", ("batch", 3))],
)
def test_a_part_with_the_weights_of_the_whole(part: str, shape: str, sizes: tuple[object, ...], two: Path) -> None:
    names: dict[str, object] = {}
    exec(TWO, names)
    whole = names["Two"]()  # type: ignore[operator]
    torch.save({"model": whole.state_dict()}, "two.pth")
    report = adaptrt.convert(
        "two.py:Two", adapter="torch", weights="two.pth", shape=shape, options={"part": part},
        exporter="torchscript", verify="quick", output=f"{part}.onnx",
    )  # fmt: skip
    assert report.link(2).status == "passed"
    assert report.spec is not None
    assert report.spec.outputs[0].dims[1:] == sizes[1:]
    (tensor,) = report.spec.inputs
    sample = torch.rand(2, *(dim.opt for dim in tensor.dims[1:]))
    outputs = adaptrt.load(report.onnx).runner.run({tensor.name: sample.numpy()})  # type: ignore[arg-type]
    expected = whole.get_submodule(part)(sample).detach().numpy()
    np.testing.assert_allclose(next(iter(outputs.values())), expected, atol=1e-6)


def test_a_part_that_is_not_there_has_a_nearest(two: Path) -> None:
    with pytest.raises(UsageError, match="no submodule 'encodr'") as caught:
        adaptrt.convert("two.py:Two", adapter="torch", shape="images=1..3x3x16x16", options={"part": "encodr"})
    assert caught.value.hint == "Did you mean 'encoder'?"
