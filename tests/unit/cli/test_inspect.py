"""``adaptrt inspect``: files of our own and of others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

onnx = pytest.importorskip("onnx", reason="ONNX files are looked into with onnx")

Converted = Callable[[str], Path]


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A file of another tool: two inputs, one with an axis of no name, an If with a graph inside, an own domain."""
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    branch = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["y_then"], name="inside")], "then", [],
        [helper.make_tensor_value_info("y_then", float32, None)],
    )  # fmt: skip
    other = helper.make_graph(
        [helper.make_node("Abs", ["x"], ["y_else"])],
        "else",
        [],
        [helper.make_tensor_value_info("y_else", float32, None)],
    )
    graph = helper.make_graph(
        [
            helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=other, name="choice"),
            helper.make_node("Custom", ["y", "w"], ["z"], domain="shop.example"),
        ],
        "foreign",
        [
            helper.make_tensor_value_info("x", float32, ["n", None, 4]),
            helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", float32, [2, 3]),
        ],
        [helper.make_tensor_value_info("z", float32, None)],
        [helper.make_tensor("w", float32, [2, 3], [0.0] * 6)],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("shop.example", 2)]
    model = helper.make_model(graph, opset_imports=opsets, producer_name="another tool", producer_version="7")
    model.metadata_props.add(key="author", value="<somebody>")
    path = tmp_path / "foreign.onnx"
    onnx.save(model, str(path))
    return path


def test_a_file_of_our_own(adaptrt: Any, converted: Converted) -> None:
    result = adaptrt("inspect", converted("detector"))
    assert result.code == 0
    words = " ".join(result.out.split())
    for piece in (
        "task detect",
        "input images batch:1..4@2x3x64x64",
        "64x64 (height x width), letterbox",
        "decoder yolo: conf 0.5, iou 0.7",
        "labels (3) red, green, blue",
        "images float32 batch x 3 x 64 x 64",
        "output0 float32 batch x 7 x 64",
        "producer adaptrt 0.1.0",
        "stride 8",
        "Conv 3",
    ):
        assert piece in words, piece


def test_as_json(adaptrt: Any, converted: Converted) -> None:
    found = adaptrt("inspect", converted("detector"), "--json").json
    assert found["spec"]["labels"] == ["red", "green", "blue"]
    assert found["inputs"] == [{"name": "images", "dtype": "float32", "shape": ["batch", 3, 64, 64]}]
    assert found["metadata"] == {"stride": "8"}
    assert found["operators"]["Conv"] == 3
    assert "nodes" not in found


def test_a_file_of_another_tool(adaptrt: Any, foreign: Path) -> None:
    result = adaptrt("inspect", foreign)
    assert result.code == 0
    words = " ".join(result.out.split())
    for piece in (
        "producer another tool 7",
        "opset 17, shop.example 2",
        "No adaptrt spec",
        "x float32 n x ? x 4",
        "c bool scalar",
        "z float32 of any shape",
        "shop.example.Custom 1",
        "Neg 1",
        "author <somebody>",
        "6 values in 1 tensors",
    ):
        assert piece in words, piece
    assert "w float32" not in words


def test_the_nodes_are_lines_to_be_searched(adaptrt: Any, foreign: Path) -> None:
    lines = adaptrt("inspect", foreign, "--graph").out.splitlines()
    assert lines[0].split() == ["choice", "If", "c", "->", "y"]
    assert {" ".join(line.split()) for line in lines[1:3]} == {"inside Neg x -> y_then", "Abs x -> y_else"}
    assert lines[3].split() == ["shop.example.Custom", "y,", "w", "->", "z"]
    nodes = adaptrt("inspect", foreign, "--graph", "--json").json["nodes"]
    assert {"name": "inside", "operator": "Neg", "inputs": ["x"], "outputs": ["y_then"]} in nodes


def test_weights_outside_the_file_are_named(adaptrt: Any, foreign: Path) -> None:
    model = onnx.load(str(foreign))
    weight = model.graph.initializer[0]
    weight.ClearField("float_data")
    weight.raw_data = b"\0" * 24
    onnx.external_data_helper.set_external_data(weight, "weights.bin")
    onnx.save(model, str(foreign))
    assert "weights.bin (24 B)" in adaptrt("inspect", foreign).out
    foreign.with_name("weights.bin").unlink()
    assert "weights.bin (missing)" in adaptrt("inspect", foreign).out


def test_a_spec_of_a_later_version_is_a_warning(adaptrt: Any, converted: Converted) -> None:
    path = converted("classifier")
    model = onnx.load(str(path))
    for entry in model.metadata_props:
        entry.value = entry.value.replace('"version":2', '"version":99')
    onnx.save(model, str(path))
    result = adaptrt("inspect", path)
    assert result.code == 0
    assert "version 99" in " ".join(result.out.split())


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 a zip", bytes(range(256)) * 4])
def test_what_is_no_onnx_file(adaptrt: Any, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    result = adaptrt("inspect", path)
    assert result.code == 7
    assert "not a readable ONNX file" in result.err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing.onnx", "File not found"),
        ("best.pt", "Convert a checkpoint first: adaptrt convert "),
        ("", "is a folder"),
    ],
)
def test_what_cannot_be_inspected(adaptrt: Any, tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "best.pt").touch()
    result = adaptrt("inspect", tmp_path / name)
    assert result.code == 4
    assert message in result.err


def test_a_near_name_is_proposed(adaptrt: Any, foreign: Path) -> None:
    assert f"Did you mean '{foreign}'?" in adaptrt("inspect", foreign.with_name("foriegn.onnx")).err


def test_the_graph_is_drawn_beside_the_file(
    adaptrt: Any, converted: Converted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: "/bin/netron" if name == "netron" else None)
    path = converted("detector")
    result = adaptrt("inspect", path, "--graph", "svg")
    assert result.code == 0, result.err
    assert path.with_name("detector.onnx.graph.svg").read_text().startswith("<svg")
    assert f"netron {path}" in result.out
    timed = adaptrt("inspect", path, "--graph", "svg", "--color", "time", "-o", "time.svg")
    assert "Note: times are means of 10 runs" in timed.out
    found = adaptrt("inspect", path, "--graph", "html", "-o", "new/graph.html", "--json").json
    assert found["written"] == "new/graph.html"
    assert found["blocks"][-1]["kind"] == "output"
    assert found["blocks"][-1]["reads"]


def test_graph_alone_prints_the_nodes_wherever_it_stands(adaptrt: Any, converted: Converted) -> None:
    path = converted("detector")
    assert adaptrt("inspect", "--graph", path).out == adaptrt("inspect", path, "--graph").out
    result = adaptrt("inspect", path, "--color", "time")
    assert result.code == 2
    assert "--graph svg" in result.err
