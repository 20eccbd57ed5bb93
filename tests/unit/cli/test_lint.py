"""``adaptrt lint``: findings for people and programs, and an exit code for CI."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

onnx = pytest.importorskip("onnx", reason="reads ONNX files")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A Shape (warning) with a line of Python, and five axes (info)."""
    from onnx import TensorProto, helper

    shape = helper.make_node("Shape", ["x"], ["y"], doc_string="net.py(7): forward\n")
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1, 1, 1, 1])]
    relu = helper.make_node("Relu", ["x"], ["z"])
    outputs = [helper.make_tensor_value_info(name, kind, None) for name, kind in (("y", 7), ("z", 1))]
    graph = helper.make_graph([shape, relu], "g", inputs, outputs)
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def test_findings_for_people(adaptrt: Callable[..., Any], file: Path) -> None:
    done = adaptrt("lint", file)
    assert done.code == 0
    assert "1 x Shape: tensor sizes are read" in done.out
    assert "net.py:7" in done.out
    assert "hint: use int(x.shape[i])" in done.out
    assert "1 warning (1 note, shown with -v)" in done.out
    assert "with five or more axes" not in done.out
    assert "with five or more axes" in adaptrt("lint", file, "-v").out


@pytest.mark.parametrize(("level", "code"), [("error", 0), ("warning", 7), ("info", 7), ("never", 0)])
def test_the_exit_code_is_for_ci(adaptrt: Callable[..., Any], file: Path, level: str, code: int) -> None:
    assert adaptrt("lint", file, "--fail-on", level, "-q").code == code


def test_findings_for_programs(adaptrt: Callable[..., Any], file: Path) -> None:
    found = adaptrt("lint", file, "--json", "--target", "8").json
    assert found["target"] == "8"
    assert adaptrt("lint", file, "--json", "--target", "rtx").json["target"] == "rtx"
    first = found["findings"][0]
    assert (first["rule"], first["severity"], first["count"]) == ("shape-read", "warning", 1)
    assert first["places"] == [{"file": "net.py", "line": 7, "code": "", "count": 1}]


@pytest.mark.parametrize("content", [None, b"", b"no graph"])
def test_files_that_are_none(adaptrt: Callable[..., Any], tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "x.onnx").write_bytes(content)
    done = adaptrt("lint", tmp_path / "x.onnx")
    assert done.code in (4, 7)
    assert "x.onnx" in done.err
