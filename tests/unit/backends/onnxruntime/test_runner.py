"""What ONNX Runtime cannot load: said in a line, with what to do."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="ONNX files are written with onnx")
pytest.importorskip("onnxruntime", reason="running ONNX files requires ONNX Runtime")

from onnx import TensorProto, helper  # noqa: E402

from adaptrt.backends.onnxruntime.runner import OnnxRuntimeRunner  # noqa: E402
from adaptrt.errors import ModelError, UsageError  # noqa: E402


def graph(operator: str = "Relu", domain: str = "", *, ir: int = 9, opset: int = 17) -> bytes:
    nodes = [helper.make_node(operator, ["x"], ["y"], domain=domain)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    made = helper.make_graph(nodes, "net", ends[:1], ends[1:])
    whole: bytes = helper.make_model(made, opset_imports=opsets, ir_version=ir).SerializeToString()
    return whole


@pytest.mark.parametrize(
    ("content", "message", "hint"),
    [
        (graph("Mine", "my.ops"), "my.ops:Mine", "--ort-custom-ops"),
        (graph("Mine"), "No Op registered for Mine", "--ort-custom-ops"),
        (graph(ir=99), "cannot load net.onnx: Unsupported model IR version: 99", "--upgrade onnxruntime"),
        (graph(opset=99), "cannot load net.onnx: ONNX Runtime only", "--upgrade onnxruntime"),
        (graph()[:20], "Protobuf parsing failed", "truncated"),
        (b"", "graph", "truncated"),
    ],
)
def test_files_that_cannot_be_loaded(content: bytes, message: str, hint: str, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        OnnxRuntimeRunner(path)
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")
    assert "onnxruntime_src" not in caught.value.message


def test_a_library_of_operators_lies_where_its_path_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare name would be looked for in the folders of the system alone."""
    origin = (spec := importlib.util.find_spec("_ctypes")) and spec.origin
    if not origin:
        pytest.skip("this Python has no shared library to copy")
    shutil.copy(origin, tmp_path / "mine.so")
    monkeypatch.chdir(tmp_path)
    Path("net.onnx").write_bytes(graph())
    with pytest.raises(UsageError, match="RegisterCustomOps") as caught:
        OnnxRuntimeRunner(Path("net.onnx"), custom_ops=[Path("mine.so")])
    assert caught.value.hint


def test_a_closed_model_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(graph())
    runner = OnnxRuntimeRunner(tmp_path / "net.onnx")
    runner.close()
    with pytest.raises(ModelError, match=r"net\.onnx has been closed"):
        runner.run({"x": np.zeros(1, np.float32)})


@pytest.mark.parametrize(
    ("variable", "given", "threads"), [(None, None, 0), ("3", None, 3), ("3", 2, 2), ("4,2", None, 0)]
)
def test_threads_of_the_environment(
    variable: str | None, given: int | None, threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``OMP_NUM_THREADS`` limits ONNX Runtime as it limits torch; 0: ONNX Runtime's own choice."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if variable is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    (path := tmp_path / "net.onnx").write_bytes(graph())
    opened = OnnxRuntimeRunner(path, threads=given)
    assert opened._session.get_session_options().intra_op_num_threads == threads
