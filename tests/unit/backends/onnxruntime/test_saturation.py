"""int8 graphs give the same values on CPUs whose int8 kernels overflow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("onnxruntime", reason="runs the graphs")

from adaptrt.backends.onnxruntime import saturation
from adaptrt.backends.onnxruntime.runner import OnnxRuntimeRunner

CHANNELS = 16


@pytest.fixture(autouse=True)
def _asked_again() -> Iterator[None]:
    saturation.int8_saturates.cache_clear()
    yield
    saturation.int8_saturates.cache_clear()


def write_quantized(path: Path, operator: str) -> Path:
    """A convolution or a product, by 1 and -1 in turns, of values that are multiples of 1/64; its input has a pair, and so do its weights and its output."""
    signs = np.resize(np.array([1, -1], np.float32), (CHANNELS, CHANNELS)).T.copy()
    convolution = operator == "Conv"
    weights = signs[..., None, None] if convolution else signs.T.copy()
    constants = {"w": weights, "zero": np.array(0, np.int8)}
    constants |= {"s.x": np.array(1 / 64, np.float32), "s.w": np.array(1 / 127, np.float32), "s.y": np.array(0.25, np.float32)}  # fmt: skip
    node, nodes = helper.make_node, []
    for value in ("x", "w"):
        nodes += [
            node("QuantizeLinear", [value, f"s.{value}", "zero"], [f"{value}.q"]),
            node("DequantizeLinear", [f"{value}.q", f"s.{value}", "zero"], [f"{value}.dq"]),
        ]
    nodes += [
        node(operator, ["x.dq", "w.dq"], ["y"]),
        node("QuantizeLinear", ["y", "s.y", "zero"], ["y.q"]),
        node("DequantizeLinear", ["y.q", "s.y", "zero"], ["y.dq"]),
    ]
    shape = [1, CHANNELS, 4, 4] if convolution else [4, CHANNELS]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "saturating", [info("x", TensorProto.FLOAT, shape)], [info("y.dq", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.mark.parametrize("operator", ["Conv", "MatMul"])
def test_large_products_are_added_exactly(operator: str, tmp_path: Path) -> None:
    runner = OnnxRuntimeRunner(write_quantized(tmp_path / "q.onnx", operator))
    shape = (1, CHANNELS, 4, 4) if operator == "Conv" else (4, CHANNELS)
    found = runner.run({"x": np.full(shape, 127 / 64, np.float32)})["y.dq"]
    rows = found.transpose(0, 2, 3, 1).reshape(-1, CHANNELS) if operator == "Conv" else found
    expected = np.resize(np.array([31.75, -31.75], np.float32), (len(rows), CHANNELS))
    np.testing.assert_array_equal(np.asarray(rows), expected)


@pytest.mark.parametrize(
    ("machine", "text", "saturates"),
    [
        ("x86_64", "processor : 0\nflags : fpu avx avx2\n", True),
        ("x86_64", "flags : avx512f avx512bw\n", True),
        ("x86_64", "flags : avx2 avx_vnni\n", False),
        ("x86_64", "flags : avx512f avx512_vnni\n", False),
        ("x86_64", None, True),
        ("aarch64", "Features : asimd\n", False),
    ],
)
def test_only_x86_without_vnni_saturates(
    machine: str, text: str | None, saturates: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(saturation, "_CPU", tmp_path / "cpuinfo")
    monkeypatch.setattr(saturation.platform, "machine", lambda: machine)
    assert saturation.int8_saturates() is saturates
