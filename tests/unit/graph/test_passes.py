"""Each graph pass alone: the graph computes what it did, and has lost what it was to lose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from adaptrt.graph.model_file import check_model, count_operators
from adaptrt.graph.passes import standard_passes
from adaptrt.graph.passes.clean import (
    drop_redundant,
    fold_constants,
    infer_output_shapes,
    make_gathers_positive,
    name_nodes,
)

FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64


def graph(
    nodes: list[Any],
    output_rank: int,
    *,
    constants: dict[str, np.ndarray] | None = None,
    shape: tuple[Any, ...] = ("batch", 3, 4),
    outputs: tuple[str, ...] = ("y",),
) -> ir.Model:
    """x [batch, 3, 4] to y through these nodes."""
    made = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", FLOAT, list(shape))],
        [helper.make_tensor_value_info(name, FLOAT, [None] * output_rank) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return ir.from_proto(model)


def node(kind: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


def run(model: ir.Model, batch: int) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    shape = [batch if isinstance(size, str) else size for size in session.get_inputs()[0].shape]
    x = np.random.default_rng(batch).standard_normal(shape).astype(np.float32)
    return list(session.run(None, {"x": x}))


def same_after(change: Callable[[ir.Model], Any], model: ir.Model) -> ir.Model:
    """Apply a pass; the graph is whole, its signature and what it computes at several batches are as before."""
    before = [run(model, batch) for batch in (1, 3)]
    inputs = [(value.name, str(value.shape)) for value in model.graph.inputs]
    outputs = [value.name for value in model.graph.outputs]
    model = change(model) or model
    check_model(model)
    assert [(value.name, str(value.shape)) for value in model.graph.inputs] == inputs
    assert [value.name for value in model.graph.outputs] == outputs
    for expected, found in zip(before, [run(model, batch) for batch in (1, 3)], strict=True):
        for one, other in zip(expected, found, strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-6, atol=1e-6)
    return model


def shape_arithmetic() -> ir.Model:
    """Flatten as TorchScript traces it: the batch read from a shape, the rest computed from constants."""
    return graph(
        [
            node("Shape", "x", "shape"),
            node("Gather", "shape zero", "size", axis=0),
            node("Unsqueeze", "size axes", "first"),
            node("Mul", "three four", "twelve"),
            node("Unsqueeze", "twelve axes", "second"),
            node("Concat", "first second", "target", axis=0),
            node("Reshape", "x target", "y"),
        ],
        2,
        constants={
            "zero": np.array(0),
            "axes": np.array([0]),
            "three": np.array(3),
            "four": np.array(4),
        },
    )


def test_folding_computes_what_depends_on_no_input() -> None:
    model = same_after(fold_constants, shape_arithmetic())
    counts = count_operators(model)
    assert "Mul" not in counts
    assert counts["Reshape"] == 1


def test_cleaning_merges_and_drops() -> None:
    weights = np.random.default_rng(0).random((4, 4), np.float32)
    model = graph(
        [
            node("MatMul", "x a", "p"),
            node("MatMul", "x b", "q"),  # the same, with equal weights under another name
            node("Identity", "q", "r"),
            node("Relu", "x", "dead"),
            node("Add", "p r", "y"),
        ],
        3,
        constants={"a": weights, "b": weights.copy(), "unused": np.zeros(3, np.float32)},
    )
    model = same_after(drop_redundant, model)
    assert count_operators(model) == {"Add": 1, "MatMul": 1}
    assert len(model.graph.initializers) == 1


def test_an_output_that_equals_a_value_inside_keeps_its_type() -> None:
    """Such as the variance that a standard deviation is made of, if both are returned."""
    nodes = [node("Neg", "x", "h"), node("Relu", "h", "y"), node("Neg", "x", "also")]
    cleaned = same_after(drop_redundant, graph(nodes, 3, outputs=("y", "also")))
    assert count_operators(cleaned) == {"Neg": 1, "Relu": 1}
    assert [value.dtype for value in cleaned.graph.outputs] == [ir.DataType.FLOAT] * 2
    assert all(value.shape is not None for value in cleaned.graph.outputs)


@pytest.mark.parametrize("sources", ["y y", "x y", "h h", "h y", "z z"])
def test_outputs_with_one_value_keep_their_names(sources: str) -> None:
    """A model may return a tensor twice; exporters then write an Identity."""
    nodes = [
        node("Relu", "x", "h"),
        node("Identity", "h", "z"),
        node("Neg" if "y" in sources else "Identity", "h", "y"),
        *(node("Identity", source, name) for source, name in zip(sources.split(), ("again", "also"), strict=True)),
    ]
    same_after(drop_redundant, graph(nodes, 3, outputs=("y", "again", "also")))


def gather(indices: Any, axis: int, shape: tuple[Any, ...] = ("batch", 3, 4)) -> ir.Model:
    array = np.array(indices)
    return graph([node("Gather", "x i", "y", axis=axis)], 2 + array.ndim, constants={"i": array}, shape=shape)


@pytest.mark.parametrize(
    ("indices", "axis", "expected"),
    [
        (-1, 2, 3),
        (-1, 1, 2),
        ([-1, 0, -3], 2, [3, 0, 1]),
        ([[-1], [2]], -1, [[3], [2]]),
        (-2, -2, 1),
        ([0, 1], 2, [0, 1]),
    ],
)
def test_negative_indices_become_positive(indices: Any, axis: int, expected: Any) -> None:
    model = same_after(make_gathers_positive, gather(indices, axis))
    (found,) = [node for node in model.graph if node.op_type == "Gather"]
    constant = ir.convenience.get_const_tensor(found.inputs[1])  # type: ignore[arg-type]
    assert constant is not None
    np.testing.assert_array_equal(constant.numpy(), expected)
    assert constant.numpy().dtype == np.int64
    assert len(model.graph.initializers) == 1


def test_indices_of_a_dynamic_axis_stay() -> None:
    model = same_after(make_gathers_positive, gather(-1, 0))
    (constant,) = model.graph.initializers.values()
    assert constant.const_value is not None
    assert constant.const_value.numpy() == -1


def test_indices_shared_by_two_axes_are_distinguished() -> None:
    model = graph(
        [
            node("Gather", "x i", "p", axis=1),  # [batch, 4]: the last of 3
            node("Gather", "x i", "q", axis=2),  # [batch, 3]: the last of 4
            node("Concat", "p q", "y", axis=1),
        ],
        2,
        constants={"i": np.array(-1)},
    )
    model = same_after(make_gathers_positive, model)
    values = sorted(int(value.const_value.numpy()) for value in model.graph.initializers.values())  # type: ignore[union-attr]
    assert values == [2, 3]


def test_indices_computed_in_the_graph_stay() -> None:
    model = graph(
        [node("Cast", "f", "i", to=INT), node("Gather", "x i", "y", axis=2)],
        2,
        constants={"f": np.array(1.0, np.float32)},
    )
    same_after(make_gathers_positive, model)


@pytest.mark.parametrize("outer", ["x", "r"])
def test_a_branch_that_passes_something_through(outer: str) -> None:
    """TorchScript writes it for ``x.squeeze(1)`` where the size is dynamic: squeeze, or the value as it is."""
    branches = {}
    for name, operator in (("then_branch", "Neg"), ("else_branch", "Identity")):
        branches[name] = helper.make_graph(
            [node(operator, outer, f"{operator}_y")],
            name,
            [],
            [helper.make_tensor_value_info(f"{operator}_y", FLOAT, [None] * 3)],
        )
    nodes = [
        node("Relu", "x", "r"),
        node("ReduceSum", "x", "sum", keepdims=0),
        node("Greater", "sum zero", "positive"),
        helper.make_node("If", ["positive"], ["z"], **branches),
        node("Identity", "z", "i"),
        node("Add", "i r", "y"),
    ]
    zero = {"zero": np.array(0, np.float32)}
    cleaned = same_after(drop_redundant, graph(nodes, 3, constants=zero))
    assert count_operators(cleaned)["Identity"] == 1
    whole = graph(nodes, 3, constants=zero)
    for one in sorted(standard_passes(with_onnxsim=False), key=lambda one: one.order):
        whole = same_after(one.run, whole)


def test_a_gather_in_a_branch() -> None:
    branches = {}
    for name, index in (("then_branch", -1), ("else_branch", 0)):
        made = helper.make_graph(
            [
                helper.make_node("Constant", [], ["i"], value=numpy_helper.from_array(np.array(index))),
                node("Gather", "x i", "g", axis=2),
            ],
            name,
            [],
            [helper.make_tensor_value_info("g", FLOAT, [None, None])],
        )
        branches[name] = made
    model = graph(
        [
            node("ReduceSum", "x", "sum", keepdims=0),
            node("Greater", "sum zero", "positive"),
            helper.make_node("If", ["positive"], ["y"], **branches),
        ],
        2,
        constants={"zero": np.array(0, np.float32)},
    )
    same_after(make_gathers_positive, model)


def test_outputs_say_the_sizes_that_follow() -> None:
    model = same_after(
        infer_output_shapes, graph([node("MatMul", "x w", "y")], 3, constants={"w": np.ones((4, 5), np.float32)})
    )
    (output,) = model.graph.outputs
    assert output.shape is not None
    assert [size if isinstance(size, int) else size.value for size in output.shape] == ["batch", 3, 5]


def test_an_output_whose_size_no_one_knows_keeps_a_name() -> None:
    model = same_after(infer_output_shapes, graph([node("NonZero", "x", "n"), node("Cast", "n", "y", to=FLOAT)], 2))
    (output,) = model.graph.outputs
    assert output.shape is not None
    assert [str(size) for size in output.shape] == ["3", "y_1"]


def named(model: ir.Model) -> list[str | None]:
    return [found.name for found in model.graph]


def test_names_are_unique_and_the_same_every_time() -> None:
    def build() -> ir.Model:
        return graph(
            [
                node("Relu", "x", "a", name="/head/act/Relu"),
                node("Relu", "a", "b", name="/head/act/Relu"),
                node("Relu", "b", "c", name="onnx::Relu_17"),
                node("Relu", "c", "d"),
                node("Add", "d x", "y", name="/head/Add"),
            ],
            3,
        )

    first, second = build(), build()
    for model in (first, second):
        name_nodes(model)
        check_model(model)
    assert named(first) == named(second) == ["head/act/Relu", "head/act/Relu_1", "Relu", "Relu_1", "head/Add"]
    same_after(name_nodes, first)
    assert named(first) == named(second)


def test_names_take_the_modules_path_where_the_exporter_wrote_it() -> None:
    model = graph([node("Relu", "x", "y", name="node_relu_3")], 3)
    model.graph[0].metadata_props["pkg.torch.onnx.name_scopes"] = "['', 'model', 'model.head.act', 'relu_3']"
    name_nodes(model)
    assert named(model) == ["model/head/act/Relu"]


@pytest.mark.parametrize("build", [shape_arithmetic, lambda: gather(-1, 2)], ids=["shape arithmetic", "gather"])
def test_all_of_them_in_order(build: Callable[[], ir.Model]) -> None:
    def everything(model: ir.Model) -> ir.Model:
        for found in sorted(standard_passes(with_onnxsim=False), key=lambda one: one.order):
            model = found.run(model) or model
            check_model(model)
        return model

    model = same_after(everything, build())
    assert all(found.name for found in model.graph)


def test_core_passes_have_reasons_and_different_orders() -> None:
    passes = standard_passes(with_onnxsim=True)
    assert len({found.order for found in passes}) == len({found.name for found in passes}) == len(passes)
    assert all(found.reason for found in passes)
    assert "simplify" not in [found.name for found in standard_passes(with_onnxsim=False)]


def test_the_page_about_passes_has_their_orders() -> None:
    import re
    from pathlib import Path

    from adaptrt import PASS_ORDER

    page = Path(__file__).parents[3] / "docs" / "how-to" / "add-a-graph-pass.md"
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert [(name, int(order)) for order, name in rows] == list(PASS_ORDER.items())
