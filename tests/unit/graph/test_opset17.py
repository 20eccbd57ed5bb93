"""Opset 18 to 20 back to 17: the same function, or an error that names what has no older form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptrt.backends.tensorrt.generations import generation_of
from adaptrt.errors import GraphError

onnx = pytest.importorskip("onnx", reason="onnx makes the graphs")
ir = pytest.importorskip("onnx_ir", reason="onnx-ir rewrites them")
ort = pytest.importorskip("onnxruntime", reason="ONNX Runtime runs them")

from adaptrt.graph.model_file import check_model  # noqa: E402
from adaptrt.graph.passes import standard_passes  # noqa: E402
from adaptrt.graph.passes.opset17 import lower_opset, write_lower_opset  # noqa: E402
from adaptrt.onnxfile.files import OnnxFiles  # noqa: E402

X = np.random.default_rng(0).standard_normal((2, 4, 6, 8)).astype(np.float32)
INTS = {"ax": [1, -1], "pads": [1, 0, 0, 1, 0, 2, 0, 0], "two": [1, 2, 2, 0], "places": [2, 3], "parts": [1, 3]}


def model_of(operator: str, inputs: str = "x", opset: int = 18, outputs: str = "y", **attributes: Any) -> Any:
    helper = onnx.helper
    names = [name if name != "-" else "" for name in inputs.split()]
    values = [onnx.numpy_helper.from_array(np.array(INTS[name], np.int64), name) for name in names if name in INTS]
    if "scales" in names:
        values.append(onnx.numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales"))
    graph = helper.make_graph(
        [helper.make_node(operator, names, outputs.split(), name=f"/{operator}", **attributes)],
        "net",
        [helper.make_tensor_value_info("x", 1, ["batch", 4, 6, 8])],
        [helper.make_tensor_value_info(name, 1, None) for name in outputs.split()],
        values,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    return ir.from_proto(onnx.shape_inference.infer_shapes(made))


def run(model: Any) -> list[Any]:
    return ort.InferenceSession(ir.to_proto(model).SerializeToString()).run(None, {"x": X})


@pytest.mark.parametrize(
    ("operator", "inputs", "more"),
    [
        ("ReduceMean", "x ax", {}),
        ("ReduceMax", "x ax", {"keepdims": 0}),
        ("ReduceL2", "x", {}),
        ("ReduceSum", "x ax", {}),
        ("Pad", "x pads", {"mode": "edge"}),
        ("Pad", "x two - places", {}),
        ("Split", "x parts", {"axis": 1, "outputs": "y z"}),
        ("Split", "x", {"axis": 3, "num_outputs": 2, "outputs": "y z"}),
        ("Resize", "x - scales", {"mode": "nearest", "antialias": 0}),
        ("Gelu", "x", {"opset": 20}),
        ("Gelu", "x", {"opset": 20, "approximate": "tanh"}),
        ("Relu", "x", {"opset": 19}),
    ],
)
def test_the_same_function_in_opset_17(operator: str, inputs: str, more: dict[str, Any]) -> None:
    reference = run(model_of(operator, inputs, **more))
    model = model_of(operator, inputs, **more)
    lower_opset(model)
    check_model(model)
    assert model.graph.opset_imports[""] == 17
    for expected, actual in zip(reference, run(model), strict=True):
        assert expected.shape == actual.shape
        assert np.allclose(expected, actual, atol=2e-6)


@pytest.mark.parametrize(
    ("operator", "inputs", "more", "named"),
    [
        ("Mish", "x", {}, "Mish was added after opset 17"),
        ("Pad", "x pads", {"mode": "wrap", "opset": 19}, "Pad in mode wrap"),
        ("Resize", "x - scales", {"mode": "linear", "antialias": 1}, "Resize with antialias"),
        ("Split", "x", {"axis": 1, "num_outputs": 3, "outputs": "y z v"}, "Split into unequal parts"),
        ("Relu", "x", {"opset": 21}, "opset 21"),
    ],
)
def test_what_has_no_older_form_is_named(operator: str, inputs: str, more: dict[str, Any], named: str) -> None:
    with pytest.raises(GraphError, match=named) as caught:
        lower_opset(model_of(operator, inputs, **more))
    assert "--exporter torchscript" in str(caught.value.hint)


def test_older_graphs_stay_as_they_are() -> None:
    model = model_of("Relu", opset=16)
    lower_opset(model)
    assert model.graph.opset_imports[""] == 16


def test_only_tensorrt_8_needs_it() -> None:
    for target, wanted in ((8, True), (10, False), (11, False), (None, False)):
        names = [
            found.name for found in standard_passes(with_onnxsim=True, target=generation_of(target) if target else None)
        ]
        assert ("opset17" in names) == wanted


def test_files(tmp_path: Path) -> None:
    onnx.save(ir.to_proto(model_of("ReduceMean", "x ax")), str(tmp_path / "new.onnx"))
    write_lower_opset(tmp_path / "new.onnx", tmp_path / "old.onnx", OnnxFiles())
    assert onnx.load(str(tmp_path / "old.onnx")).opset_import[0].version == 17
