"""The opset of ModelOpt's graphs is brought down, or the target is refused with the reason. ModelOpt is not needed here."""

from __future__ import annotations

from typing import Any

import pytest

onnx = pytest.importorskip("onnx", reason="onnx makes the graphs")
pytest.importorskip("adaptrt_modelopt", reason="the extension is not installed (pip install adaptrt-modelopt)")

from adaptrt import GraphError  # noqa: E402
from adaptrt_modelopt.opset import lowered, opset_of  # noqa: E402

HINT = "use the other quantizer"


def graph(opset: int, *nodes: Any, **weights: list[int]) -> Any:
    helper = onnx.helper
    values = [helper.make_tensor(name, onnx.TensorProto.INT64, [len(one)], one) for name, one in weights.items()]
    inputs = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 4, 8, 8])]
    outputs = [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)]
    made = helper.make_graph(nodes, "net", inputs, outputs, values)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def node(operator: str, *inputs: str, **attributes: Any) -> Any:
    return onnx.helper.make_node(operator, inputs, ["y"], **attributes)


def test_nodes_of_the_older_opset_get_its_number() -> None:
    model, note = lowered(graph(19, node("Relu", "x")), graph(17, node("Relu", "x")), 17, HINT)
    assert (opset_of(model), note) == (17, "opset 19 brought down to 17")


def test_an_opset_that_is_not_newer_stays() -> None:
    given = graph(17, node("Relu", "x"))
    assert lowered(given, graph(17, node("Relu", "x")), 17, HINT) == (given, "opset 17")


NEW = ("AveragePool", "x"), {"kernel_shape": [3, 3], "dilations": [2, 2]}  # dilations are new in opset 19


def test_a_target_that_cannot_read_it_is_refused_with_the_reason() -> None:
    names, attributes = NEW
    with pytest.raises(
        GraphError, match=r"ModelOpt writes opset 19; this target reads opset 17 or older, .*dilations"
    ) as caught:
        lowered(graph(19, node(*names, **attributes)), graph(17, node("Relu", "x")), 17, HINT)
    assert caught.value.hint == HINT


@pytest.mark.parametrize("newest", [20, None])
def test_a_target_that_reads_it_gets_it_as_it_is(newest: int | None) -> None:
    names, attributes = NEW
    given = graph(19, node(*names, **attributes))
    assert lowered(given, graph(17, node("Relu", "x")), newest, HINT) == (given, "opset 19")


def test_a_node_that_changed_is_converted() -> None:
    model, note = lowered(graph(18, node("ReduceMean", "x", "axes"), axes=[1]), graph(17, node("Relu", "x")), 17, HINT)
    assert (opset_of(model), note) == (17, "opset 18 brought down to 17")
    (mean,) = (one for one in model.graph.node if one.op_type == "ReduceMean")
    assert [attribute.name for attribute in mean.attribute if attribute.name == "axes"] == ["axes"]
