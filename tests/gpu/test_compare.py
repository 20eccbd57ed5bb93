"""The tensors inside an engine, which is rebuilt with them as outputs, on a real GPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gpu_commands import Commands, run

onnx = pytest.importorskip("onnx", reason="needs onnx")
pytest.importorskip("onnxruntime", reason="needs ONNX Runtime")


def middle_convolution(model):
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    return convolutions[len(convolutions) // 2]


def damage(made: Commands, path: Path) -> Path:
    """The file with two kernels of its middle convolution negated."""
    model = onnx.load(made.onnx)
    name = middle_convolution(model).input[1]
    (weight,) = (one for one in model.graph.initializer if one.name == name)
    values = onnx.numpy_helper.to_array(weight).copy()
    values[:2] *= -1
    weight.CopyFrom(onnx.numpy_helper.from_array(values, name))
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("damaged", [False, True], ids=["same", "damaged"])
def test_a_tensor_inside_an_engine(full: Commands, tmp_path: Path, damaged: bool) -> None:
    full.built("fp32")
    reference = damage(full, tmp_path / "damaged.onnx") if damaged else full.onnx
    inside = middle_convolution(onnx.load(full.onnx)).output[0]
    image = sorted(full.images.iterdir())[0]
    words = ["compare", reference, full.engine("fp32"), "--onnx", full.onnx, "--outputs", inside, "--image", image]
    done = run([*words, "--json"], full.environment)
    assert done.code == (9 if damaged else 0), done.err
    (pair,) = json.loads(done.out)["pairs"]
    assert (pair["search"], pair["builds"]) == ("named", 1)
    used = {row["name"]: row["used"] for row in pair["rows"]}
    assert used.keys() == {inside, "output0"}
    assert (used[inside] > 1) is damaged
