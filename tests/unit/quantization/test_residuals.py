"""Residual additions that TensorRT computes in an int8 convolution: both addends are int8, or the convolution's own output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from adaptrt.quantization import LayerPatterns, calibrate, write_quantized
from adaptrt.specs.calibration import CalibrationData

WIDTH, SIDE = 8, 6


class Net:
    """Nodes of a graph from ``x`` to ``y``; ``conv(name, input)`` adds a convolution with weights of its own."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def add(self, operator: str, name: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def conv(self, name: str, value: str) -> str:
        weight = np.random.default_rng(len(self.nodes)).normal(size=(WIDTH, WIDTH, 1, 1)).astype(np.float32)
        self.weights.append(numpy_helper.from_array(weight, f"{name}.weight"))
        return self.add("Conv", name, value, f"{name}.weight")

    def constant(self, name: str) -> str:
        self.weights.append(numpy_helper.from_array(np.ones((1, WIDTH, 1, 1), np.float32), name))
        return name

    def quantized(self, path: Path, **options: Any) -> onnx.ModelProto:
        """With an int8 convolution before ``y`` and a float one at the end."""
        self.add("Relu", "relu", self.nodes[-1].output[0])
        self.add("Identity", "y", self.conv("end", self.conv("next", "relu")))
        shape = ["batch", WIDTH, SIDE, SIDE]
        graph = helper.make_graph(
            self.nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], self.weights,
        )  # fmt: skip
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
        arrays = [
            np.random.default_rng(index).normal(size=(1, WIDTH, SIDE, SIDE)).astype(np.float32) for index in range(4)
        ]
        data = CalibrationData(count=4, batches=4, read=lambda index: {"x": arrays[index]}, digest="a", title="arrays")
        calibrated = calibrate(path, None, data, path.parent, **options)
        write_quantized(calibrated, path.with_suffix(".int8.onnx"))
        return onnx.load(str(path.with_suffix(".int8.onnx")))


def addends(model: onnx.ModelProto, name: str = "sum") -> list[str]:
    """What an addition reads: the name of an int8 value with a star, or that of a float one."""
    makers = {output: node for node in model.graph.node for output in node.output}
    (addition,) = (node for node in model.graph.node if node.name == name)
    found = []
    for value in addition.input:
        maker = makers.get(value)
        if maker is not None and maker.op_type == "DequantizeLinear":
            found.append(f"{makers[maker.input[0]].input[0]}*")
        else:
            found.append(value)
    return found


@pytest.fixture
def net() -> Net:
    made = Net()
    made.conv("stem", "x")
    made.add("Relu", "a", "stem")
    return made


def test_a_convolution_around_the_block_is_int8(net: Net, tmp_path: Path) -> None:
    """TensorRT 8.6: "incorrectly marked as an int8 node" with a float addend."""
    net.add("Add", "sum", net.conv("inner", "a"), net.conv("downsample", "a"))
    assert addends(net.quantized(tmp_path / "net.onnx")) == ["inner", "downsample*"]


def test_another_branch_is_int8_wherever_it_stands(net: Net, tmp_path: Path) -> None:
    net.add("Add", "sum", net.add("Sigmoid", "coarse", "a"), net.conv("lateral", "a"))
    assert addends(net.quantized(tmp_path / "net.onnx")) == ["coarse*", "lateral"]


def test_what_a_convolution_reads_is_int8_there_too(net: Net, tmp_path: Path) -> None:
    net.add("Add", "sum", net.conv("inner", "a"), "a")
    assert addends(net.quantized(tmp_path / "net.onnx")) == ["inner", "a*"]


@pytest.mark.parametrize("kind", ["constant", "activation", "two readers", "same", "float"])
def test_other_additions_stay_float(net: Net, tmp_path: Path, kind: str) -> None:
    inner = net.conv("inner", "a")
    options: dict[str, LayerPatterns] = {}
    other = net.add("Sigmoid", "other", "a")
    if kind == "constant":
        other = net.constant("bias")
    elif kind == "activation":
        inner = net.add("Tanh", "tanh", inner)
    elif kind == "two readers":
        net.add("Add", "sum", inner, other)
        net.add("Mul", "both", "sum", inner)
    elif kind == "same":
        other = inner
    elif kind == "float":
        options = {"patterns": LayerPatterns(keep_fp16=["^inner$"])}
    if kind != "two readers":
        net.add("Add", "sum", inner, other)
    assert addends(net.quantized(tmp_path / "net.onnx", **options)) == [inner, other]


def test_only_one_of_two_convolutions_is_int8(net: Net, tmp_path: Path) -> None:
    net.add("Add", "sum", net.conv("inner", "a"), net.conv("downsample", "a"))
    found = net.quantized(tmp_path / "net.onnx", patterns=LayerPatterns(keep_fp16=["^inner$"]))
    assert addends(found) == ["inner*", "downsample"]
