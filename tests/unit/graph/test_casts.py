"""Half precision in the types of the graph: what becomes half, what stays float32, and that it is still the same function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptrt.errors import UsageError
from adaptrt.specs import InputSpec, ModelSpec, OutputGroup, OutputSpec

onnx = pytest.importorskip("onnx", reason="onnx makes the graphs")
ir = pytest.importorskip("onnx_ir", reason="onnx-ir rewrites them")
ort = pytest.importorskip("onnxruntime", reason="ONNX Runtime runs them")

from adaptrt.graph.casts import FP16_MAX, RANGE_LIMIT, insert_casts, raise_opset  # noqa: E402
from adaptrt.graph.emulation import emulate_low_precision  # noqa: E402
from adaptrt.graph.model_file import check_model, graph_of  # noqa: E402
from adaptrt.graph.ranges import measure_ranges  # noqa: E402
from adaptrt.graph.reduced_precision import write_emulated, write_reduced  # noqa: E402
from adaptrt.onnxfile.files import OnnxFiles  # noqa: E402
from adaptrt.specs import precision_named  # noqa: E402

Nodes = Sequence[Any]


def node(operator: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    return onnx.helper.make_node(operator, inputs.split(), outputs.split(), name=f"/{outputs.split()[0]}", **attributes)


def graph(nodes: Nodes, weights: dict[str, Any], shape: Sequence[Any] = ("batch", 4, 8, 8), opset: int = 17) -> Any:
    helper = onnx.helper
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "net",
            [helper.make_tensor_value_info("x", 1, shape)],
            [helper.make_tensor_value_info(nodes[-1].output[0], 1, None)],
            [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
        ),
        opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("com.example", 1)],
        ir_version=10,
    )
    return ir.from_proto(onnx.shape_inference.infer_shapes(model))


def weights(*shape: int, scale: float = 0.3) -> np.ndarray[Any, Any]:
    return (np.random.default_rng(sum(shape)).standard_normal(shape) * scale).astype(np.float32)


def spec(unit: str) -> ModelSpec:
    groups = (OutputGroup("all", unit),)
    return ModelSpec((InputSpec.image(8, 8),), (OutputSpec("y", groups=groups),))


def run(model: Any, x: np.ndarray[Any, Any], *, optimize: bool = True) -> np.ndarray[Any, Any]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), options)
    result: np.ndarray[Any, Any] = session.run(None, {"x": x})[0]
    return result


def types_of(model: Any) -> dict[str, str]:
    """The type of each node's first output, by the node's name; casts by ``Cast``'s own names."""
    return {found.name: found.outputs[0].dtype.name for found in model.graph}


def network() -> Any:
    """A convolution, attention-like part and an output in float32."""
    return graph(
        [
            node("Conv", "x w b", "conv", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            node("Relu", "conv", "relu"),
            node("Reshape", "relu shape", "rows"),
            node("MatMul", "rows square", "logits"),
            node("Softmax", "logits", "softmax", axis=-1),
            node("MatMul", "softmax square", "mixed"),
            node("LayerNormalization", "mixed scale shift", "norm", axis=-1),
            node("Add", "norm rows", "y"),
        ],
        {
            "w": weights(8, 4, 3, 3),
            "b": weights(8),
            "shape": np.array([0, 8, 64], np.int64),
            "square": weights(64, 64),
            "scale": np.ones(64, np.float32),
            "shift": np.zeros(64, np.float32),
        },
    )


X = weights(2, 4, 8, 8, scale=1.0)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_layers_are_half_and_sensitive_ones_are_not(precision: Any) -> None:
    model = raise_opset(network(), precision_named(precision))
    typing = insert_casts(model, precision_named(precision), None)
    check_model(model)
    half = {"fp16": "FLOAT16", "bf16": "BFLOAT16"}[precision]
    types = types_of(model)
    assert {name: types[name] for name in ("/conv", "/relu", "/rows", "/logits", "/softmax", "/mixed", "/norm")} == {
        "/conv": half,
        "/relu": half,
        "/rows": half,
        "/logits": half,
        "/softmax": "FLOAT",
        "/mixed": half,
        "/norm": "FLOAT",
    }
    assert typing.kept == {"sensitive": ["/softmax", "/norm"]}
    assert typing.low == 6
    assert model.graph.inputs[0].dtype.name == model.graph.outputs[0].dtype.name == "FLOAT"
    assert model.graph.outputs[0].name == "y"
    assert {value.dtype.name for name, value in model.graph.initializers.items() if name.startswith("w")} == {half}


def test_the_same_function_within_its_precision() -> None:
    reference = run(network(), X)
    for precision, limit in (("fp16", 5e-3), ("bf16", 5e-2)):
        model = raise_opset(network(), precision_named(precision))
        insert_casts(model, precision_named(precision), None)
        if precision == "fp16":
            assert np.abs(run(model, X) - reference).max() < limit
        rounded = ir.from_proto(ir.to_proto(model))
        emulate_low_precision(rounded)
        check_model(rounded)
        difference = np.abs(run(rounded, X, optimize=False) - reference).max()
        assert 1e-5 < difference < limit  # it does round
        assert not [
            value
            for found in rounded.graph
            if found.op_type != "Cast"
            for value in found.outputs
            if value.dtype.name == "FLOAT16"
        ]


def test_each_value_is_cast_once() -> None:
    model = network()
    typing = insert_casts(model, precision_named("fp16"), None)
    casts = [found for found in model.graph if found.op_type == "Cast"]
    assert len(casts) == typing.casts
    assert len({(cast.inputs[0].name, cast.outputs[0].dtype) for cast in casts}) == len(casts)


def decoding(stride: float = 32.0) -> Any:
    """Boxes in pixels: a trained layer, then arithmetic."""
    return graph(
        [
            node("Conv", "x w", "raw", kernel_shape=[1, 1]),
            node("Sigmoid", "raw", "squashed"),
            node("Mul", "squashed stride", "scaled"),
            node("Add", "scaled grid", "y"),
        ],
        {"w": weights(16, 4, 1, 1), "stride": np.float32(stride), "grid": np.full((1, 16, 1, 1), 700, np.float32)},
    )


def test_box_decoding_stays_float32() -> None:
    model = decoding()
    typing = insert_casts(model, precision_named("fp16"), spec("pixels"))
    assert typing.kept == {"box decoding": ["/squashed", "/scaled", "/y"]}
    kept = np.abs(run(model, X) - run(decoding(), X)).max()
    other = decoding()
    insert_casts(other, precision_named("fp16"), spec("values"))
    emulate_low_precision(other)
    lost = np.abs(run(other, X, optimize=False) - run(decoding(), X)).max()
    assert kept < 0.05  # pixels
    assert lost > 0.2  # half precision has a spacing of half a pixel from 512 on


def test_what_is_asked_for_stays_float32() -> None:
    model = network()
    typing = insert_casts(model, precision_named("fp16"), None, keep_fp32=["^/conv$", "Softmax"])
    assert typing.kept["requested"] == ["/conv", "/softmax"]
    assert types_of(model)["/conv"] == "FLOAT"
    with pytest.raises(UsageError, match="'nothing' does not match any node"):
        insert_casts(network(), precision_named("fp16"), None, keep_fp32=["nothing"])


def test_weights_that_half_cannot_hold() -> None:
    def large() -> Any:
        return graph(
            [node("Mul", "x big", "large"), node("Mul", "large small", "y")],
            {"big": np.float32(FP16_MAX * 2), "small": np.float32(1e-5)},
        )

    model = large()
    typing = insert_casts(model, precision_named("fp16"), None)
    assert typing.kept == {"out of range": ["/large"]}
    model = raise_opset(large(), precision_named("bf16"))
    assert insert_casts(model, precision_named("bf16"), None).kept == {}


def test_values_beyond_the_range_are_measured(tmp_path: Path) -> None:
    model = graph(
        [
            node("Mul", "x thousand", "a"),
            node("Mul", "a thousand", "b"),
            node("Mul", "b thousandth", "c"),
            node("Relu", "c", "y"),
        ],
        {"thousand": np.float32(1000), "thousandth": np.float32(0.001)},
    )
    x = np.full((1, 4, 8, 8), 2, np.float32)
    ranges = measure_ranges(model, [{"x": x * 0.5}, {"x": -x}], tmp_path)
    assert ranges == {"a": 2000, "b": 2e6, "c": pytest.approx(2000), "y": pytest.approx(1000)}
    assert ranges["b"] > RANGE_LIMIT > ranges["a"]
    typing = insert_casts(model, precision_named("fp16"), None, ranges=ranges)
    assert typing.kept == {"out of range": ["/b", "/c"]}
    assert np.isfinite(run(model, x)).all()
    assert list(tmp_path.iterdir()) == []


def test_weights_that_become_zero_are_counted(tmp_path: Path) -> None:
    array = np.array([1.0, 1e-9, 0.0, 1e-10], np.float32).reshape(1, 4, 1, 1)
    path = tmp_path / "m.onnx"
    onnx.save(ir.to_proto(graph([node("Mul", "x w", "y")], {"w": array})), str(path))
    typing, notes = write_reduced(path, tmp_path / "typed.onnx", precision_named("fp16"), None, OnnxFiles())
    assert typing.flushed == 2
    assert notes == ["2 weights are too small for fp16 and became zero"]


def test_a_weight_used_in_both_precisions_is_there_twice() -> None:
    model = graph(
        [node("Mul", "x w", "half"), node("Exp", "half", "e"), node("Mul", "e w", "f"), node("Softmax", "f", "y")],
        {"w": weights(1, 4, 8, 8)},
    )
    insert_casts(model, precision_named("fp16"), None, keep_fp32=["^/f$"])
    check_model(model)
    assert sorted((name, value.dtype.name) for name, value in model.graph.initializers.items()) == [
        ("w", "FLOAT"),
        ("w_fp16", "FLOAT16"),
    ]


def test_scales_of_resize_stay_float32() -> None:
    model = graph(
        [node("Resize", "x x scales", "up", mode="nearest"), node("Relu", "up", "y")],
        {"scales": np.array([1, 1, 2, 2], np.float32)},
    )
    model.graph[0].replace_input_with(1, None)  # no region of interest
    insert_casts(model, precision_named("fp16"), None)
    check_model(model)
    assert model.graph.initializers["scales"].dtype.name == "FLOAT"
    assert types_of(model)["/up"] == "FLOAT16"
    assert run(model, X).shape == (2, 4, 16, 16)


def test_moves_between_float32_nodes_are_not_cast() -> None:
    model = graph(
        [
            node("Exp", "x", "e"),
            node("Transpose", "e", "t", perm=[0, 2, 3, 1]),
            node("Softmax", "t", "y"),
        ],
        {},
    )
    typing = insert_casts(model, precision_named("fp16"), None)
    assert typing.casts == 0
    assert typing.kept["between float32 nodes"] == ["/t"]


def test_integers_stay_what_they_are() -> None:
    model = graph(
        [
            node("Shape", "x", "shape"),
            node("Reshape", "x shape", "again"),
            node("Cast", "shape", "floats", to=1),
            node("Reshape", "floats four", "sizes"),
            node("Mul", "again sizes", "y"),
        ],
        {"four": np.array([1, 4, 1, 1], np.int64)},
    )
    insert_casts(model, precision_named("fp16"), None)
    check_model(model)
    assert types_of(model)["/shape"] == "INT64"
    assert np.allclose(run(model, X), X * np.array([2, 4, 8, 8], np.float32).reshape(1, 4, 1, 1), rtol=2e-3)


def test_sub_graphs_keep_their_types() -> None:
    helper = onnx.helper
    captured = helper.make_graph(
        [node("Add", "doubled doubled", "then_out")], "then", [], [helper.make_tensor_value_info("then_out", 1, None)]
    )
    other = helper.make_graph(
        [node("Identity", "doubled", "else_out")], "else", [], [helper.make_tensor_value_info("else_out", 1, None)]
    )
    model = graph(
        [
            node("Mul", "x two", "doubled"),
            node("If", "yes", "chosen", then_branch=captured, else_branch=other),
            node("Relu", "chosen", "y"),
        ],
        {"two": np.float32(2), "yes": np.array(True)},
    )
    insert_casts(model, precision_named("fp16"), None)
    check_model(model)
    assert types_of(model)["/doubled"] == "FLOAT"
    assert np.allclose(run(model, X), np.maximum(4 * X, 0), rtol=2e-3)


def test_operators_of_somebody_else_stay_float32() -> None:
    helper = onnx.helper
    own = helper.make_node("Mine", ["a"], ["b"], name="/b", domain="com.example")
    model = graph([node("Relu", "x", "a"), own, node("Relu", "b", "y")], {})
    for value in [found.outputs[0] for found in model.graph]:
        value.type = ir.TensorType(ir.DataType.FLOAT)
    typing = insert_casts(model, precision_named("fp16"), None)
    assert typing.kept == {"no half-precision form": ["/b"]}


def test_bfloat16_needs_a_later_opset() -> None:
    model = raise_opset(network(), precision_named("bf16"))
    assert model.graph.opset_imports[""] == 22
    assert raise_opset(model, precision_named("bf16")) is model
    half = network()
    assert raise_opset(half, precision_named("fp16")) is half


def test_files(tmp_path: Path) -> None:
    model = network()
    model.metadata_props["stride"] = "32"
    source, typed, rounded = (tmp_path / name for name in ("m.onnx", "m.fp16.onnx", "r.onnx"))
    onnx.save(ir.to_proto(model), str(source))
    files = OnnxFiles()
    typing, notes = write_reduced(source, typed, precision_named("fp16"), None, files, samples=[{"x": X}])
    assert notes == []
    assert typing.note == "6 nodes in half precision; float32: 2 sensitive; 6 casts"
    assert onnx.load(str(typed)).metadata_props[0].value == "32"
    write_emulated(typed, rounded, files)
    assert np.abs(run(ir.load(rounded), X) - run(network(), X)).max() < 5e-3


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_the_graph_of_a_file_is_not_changed_by_what_is_made_of_it(precision: str, tmp_path: Path) -> None:
    files, source, typed = OnnxFiles(), tmp_path / "m.onnx", tmp_path / "t.onnx"
    onnx.save(ir.to_proto(network()), str(source))
    before = ir.to_proto(graph_of(source, files)).SerializeToString(deterministic=True)
    write_reduced(source, typed, precision_named(precision), None, files, samples=[{"x": X}])
    assert ir.to_proto(graph_of(source, files)).SerializeToString(deterministic=True) == before
    before = ir.to_proto(graph_of(typed, files)).SerializeToString(deterministic=True)
    write_emulated(typed, tmp_path / "r.onnx", files)
    assert ir.to_proto(graph_of(typed, files)).SerializeToString(deterministic=True) == before
    assert before == ir.to_proto(graph_of(typed, OnnxFiles())).SerializeToString(deterministic=True)


def test_a_graph_that_cannot_run_is_typed_without_ranges(tmp_path: Path) -> None:
    helper = onnx.helper
    own = helper.make_node("Mine", ["x"], ["y"], domain="com.example")
    info: Callable[[str], Any] = lambda name: helper.make_tensor_value_info(name, 1, [1, 4])  # noqa: E731
    made = helper.make_model(
        helper.make_graph([own], "net", [info("x")], [info("y")]),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)],
    )
    onnx.save(made, str(tmp_path / "m.onnx"))
    _, notes = write_reduced(
        tmp_path / "m.onnx", tmp_path / "t.onnx", precision_named("fp16"), None, OnnxFiles(), samples=[{"x": X}]
    )
    assert "value ranges were not measured" in notes[0]


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_nodes_keep_the_line_that_made_them(precision: Any) -> None:
    """TensorRT's parser errors name it; the converter to a later opset drops what a node carries."""
    from adaptrt.onnxfile.reader import SOURCE

    model = network()
    for number, one in enumerate(model.graph):
        one.metadata_props[SOURCE] = f"net.py:{number}"
    wanted = {str(one.outputs[0].name): one.metadata_props[SOURCE] for one in model.graph}
    model = raise_opset(model, precision_named(precision))
    assert {str(one.outputs[0].name): one.metadata_props.get(SOURCE) for one in model.graph} == wanted
