"""onnxsim may crash, hang or be wrong: the graph stays as it was, and the report says why."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from adaptrt.graph.passes.clean import name_nodes
from adaptrt.graph.passes.simplify import simplify

module = importlib.import_module("adaptrt.graph.passes.simplify")

NOTE = "adaptrt.note.simplify"


def expanding() -> ir.Model:
    """y = x + Expand(1 to the shape of x), with the batch read from x."""
    made = helper.make_graph(
        [
            helper.make_node("Shape", ["x"], ["shape"]),
            helper.make_node("Expand", ["one", "shape"], ["ones"]),
            helper.make_node("Add", ["x", "ones"], ["y"], name="add"),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(np.array([1.0], np.float32), "one")],
    )
    return ir.from_proto(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))


@pytest.fixture
def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child process finds this onnxsim first."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def pretending(tmp_path: Path, body: str) -> None:
    head = "import onnx, os, sys, time\ndef simplify(model, check_n=0, test_input_shapes=None):"
    (tmp_path / "onnxsim.py").write_text(f"{head}\n    {body}\n")


@pytest.mark.usefixtures("pretend")
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return model, False", "onnxsim's own check found different outputs"),
        ("raise RuntimeError('bad node')", "RuntimeError: bad node"),
        ("os.abort()", "onnxsim ended with status -6"),
        ("os._exit(3)", "onnxsim ended with status 3"),
        ("os._exit(0)", "onnxsim ended with status 0"),
        ("model.graph.output[0].name = 'z'; return model, True", "onnxsim changed the inputs or outputs"),
        (
            "model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2; return model, True",
            "onnxsim changed the inputs or outputs",
        ),
        ("del model.graph.input[:]; return model, True", "onnxsim changed the inputs or outputs"),
        ("sys.stderr.buffer.write(b'\\xff broken'); sys.exit(1)", "broken"),
    ],
)
def test_whatever_goes_wrong_leaves_the_graph(tmp_path: Path, body: str, reason: str) -> None:
    pretending(tmp_path, body)
    model = expanding()
    before = ir.to_proto(model)
    result = simplify(model)
    assert result is model
    assert reason in result.metadata_props.pop(NOTE)
    assert ir.to_proto(result) == before


@pytest.mark.usefixtures("pretend")
def test_it_is_given_up_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretending(tmp_path, "time.sleep(3600)")
    monkeypatch.setattr(module, "_TIMEOUT", 0.2)
    model = expanding()
    assert simplify(model) is model
    assert model.metadata_props[NOTE] == "skipped: onnxsim took longer than 0.2 s"


def test_no_room_for_its_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(onnx, "save", full)
    model = expanding()
    assert simplify(model) is model
    assert "No space left on device" in model.metadata_props[NOTE]


@pytest.mark.usefixtures("pretend")
def test_it_receives_the_shapes_to_compare_at(tmp_path: Path) -> None:
    pretending(tmp_path, "raise RuntimeError(f'{check_n} {test_input_shapes}')")
    assert "1 {'x': [2, 3]}" in simplify(expanding(), {"x": (2, 3)}).metadata_props[NOTE]


@pytest.mark.usefixtures("pretend")
def test_an_onnxsim_that_cannot_do_without_torch(tmp_path: Path) -> None:
    pretending(tmp_path, "return model, True")
    source = (tmp_path / "onnxsim.py").read_text()
    (tmp_path / "torch.py").write_text("")
    (tmp_path / "onnxsim.py").write_text("import torch\n" + source)
    assert simplify(expanding()).metadata_props[NOTE] == "onnxsim"


def test_without_shape_arithmetic_it_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*args: object, **options: object) -> None:
        pytest.fail("no process is needed")

    monkeypatch.setattr(module.subprocess, "run", started)
    made = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
    )
    plain = ir.from_proto(helper.make_model(made))
    assert simplify(plain) is plain
    assert plain.metadata_props[NOTE].startswith("not needed")


@pytest.mark.skipif(importlib.util.find_spec("onnxsim") is None, reason="onnxsim is not installed")
def test_the_real_one() -> None:
    import onnxruntime

    result = simplify(expanding(), {"x": [2, 3]})
    assert result.metadata_props[NOTE] == "onnxsim"
    session = onnxruntime.InferenceSession(ir.to_proto(result).SerializeToString(), providers=["CPUExecutionProvider"])
    for batch in (1, 4):
        x = np.random.default_rng(0).random((batch, 3), np.float32)
        np.testing.assert_allclose(session.run(None, {"x": x})[0], x + 1)


@pytest.mark.skipif(importlib.util.find_spec("onnxsim") is None, reason="needs onnxsim")
def test_nodes_keep_the_module_paths_of_the_dynamo_exporter() -> None:
    """They are metadata, which onnxsim drops; names are made from them, and decide which nodes stay float32."""
    model = expanding()
    model.graph.node("add").metadata_props["pkg.torch.onnx.name_scopes"] = "['', 'head', 'head.adaptrt_nms', 'add']"
    simplified = simplify(model)
    assert simplified.metadata_props[NOTE] == "onnxsim"
    name_nodes(simplified)
    assert "head/adaptrt_nms/Add" in [node.name for node in simplified.graph]
