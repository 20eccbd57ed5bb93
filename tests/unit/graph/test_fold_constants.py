"""What folding must compute, and what it must leave."""

import numpy as np
import onnx_ir
from onnx import TensorProto, helper, numpy_helper

from adaptrt.graph.passes.clean import fold_constants


def folded(shape: list[int]) -> list[str]:
    """Operators left of ``images + ConstantOfShape(shape)``."""
    graph = helper.make_graph(
        [
            helper.make_node(
                "ConstantOfShape", ["shape"], ["zeros"], value=numpy_helper.from_array(np.ones(1, np.float32))
            ),
            helper.make_node("Add", ["images", "zeros"], ["sum"]),
        ],
        "test",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", shape[-1]])],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["batch", shape[-1]])],
        [numpy_helper.from_array(np.array(shape, np.int64), "shape")],
    )
    model = onnx_ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    fold_constants(model)
    return [node.op_type for node in model.graph if node.op_type != "Constant"]


def test_small_constants_are_folded() -> None:
    assert folded([1, 8]) == ["Add"]


def test_large_constants_stay_nodes() -> None:
    assert folded([1, 100_000]) == ["ConstantOfShape", "Add"]
