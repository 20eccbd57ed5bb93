"""Which nodes read the Q/DQ pairs that ONNX Runtime shares among all readers of a value. Runs without ModelOpt."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("adaptrt_modelopt", reason="the extension is not installed (pip install adaptrt-modelopt)")

from adaptrt_modelopt.sharing import restrict_pairs


@pytest.fixture
def model() -> onnx.ModelProto:
    """``x`` has a pair that a convolution, a residual addition and a pooling read; ``y`` one for a product and an addition."""
    ones = numpy_helper.from_array(np.ones((4, 4, 1, 1), np.float32), "kernel")
    weights = numpy_helper.from_array(np.eye(4, dtype=np.float32), "weights")
    scale = numpy_helper.from_array(np.array(0.1, np.float32), "scale")
    node = helper.make_node
    nodes = [
        node("QuantizeLinear", ["x", "scale"], ["x.q"], name="x.q"),
        node("DequantizeLinear", ["x.q", "scale"], ["x.dq"], name="x.dq"),
        node("Conv", ["x.dq", "kernel"], ["c"], name="conv"),
        node("Add", ["c", "x.dq"], ["sum"], name="residual"),
        node("MaxPool", ["x.dq"], ["pooled"], name="pool", kernel_shape=[1, 1]),
        node("QuantizeLinear", ["y", "scale"], ["y.q"], name="y.q"),
        node("DequantizeLinear", ["y.q", "scale"], ["y.dq"], name="y.dq"),
        node("MatMul", ["y.dq", "weights"], ["m"], name="product"),
        node("Add", ["y.dq", "m"], ["stream"], name="stream"),
        node("MatMul", ["y.dq", "y.dq"], ["a"], name="attention"),
    ]
    info = helper.make_tensor_value_info
    inputs = [info("x", TensorProto.FLOAT, [1, 4, 2, 2]), info("y", TensorProto.FLOAT, [4, 4])]
    outputs = [
        info(name, TensorProto.FLOAT, [None] * rank)
        for name, rank in (("sum", 4), ("pooled", 4), ("stream", 2), ("a", 2))
    ]
    graph = helper.make_graph(nodes, "shared", inputs, outputs, [ones, weights, scale])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def test_pairs_are_read_by_layers_and_by_residuals_of_convolutions(model: onnx.ModelProto) -> None:
    assert restrict_pairs(model, {"conv", "product"}) == 4
    onnx.checker.check_model(model)
    inputs = {node.name: list(node.input) for node in model.graph.node}
    assert inputs["conv"] == ["x.dq", "kernel"]
    assert inputs["residual"] == ["c", "x.dq"]
    assert inputs["pool"] == ["x"]
    assert inputs["product"] == ["y.dq", "weights"]
    assert inputs["stream"] == ["y", "m"]
    assert inputs["attention"] == ["y", "y"]


def test_what_is_quantized_on_request_keeps_its_pair(model: onnx.ModelProto) -> None:
    assert restrict_pairs(model, {"conv", "product", "attention", "pool", "stream"}) == 0
