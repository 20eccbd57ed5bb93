"""The reference of a build is an ONNX file: it is looked at as a model is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnxruntime", reason="needs onnxruntime")
onnx = pytest.importorskip("onnx", reason="needs onnx")
from small_graphs import write_graph  # noqa: E402

import adaptrt  # noqa: E402
from adaptrt.errors import ModelError, UsageError  # noqa: E402


def build(path: Path, **options: Any) -> adaptrt.Report:
    return adaptrt.build(path, to="onnx", precision="fp16", target="10", html=False, cache=False, **options)


def graph(path: Path, *nodes: Any, **weights: Any) -> Path:
    """``x`` [B, 4] to ``y`` [B, 4]."""
    import numpy as np

    helper = onnx.helper
    made = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info("x", 1, ["B", 4])],
        [helper.make_tensor_value_info("y", 1, ["B", 4])],
        [onnx.numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def node(operator: str, *inputs: str, **attributes: Any) -> Any:
    return onnx.helper.make_node(operator, list(inputs), ["y"], **attributes)


SHAPE = {"shape": "x=1..4@2x4"}


def test_a_graph_that_varies_is_verified(tmp_path: Path) -> None:
    report = build(write_graph(tmp_path / "small.onnx"))
    assert {one.name: one.ratio > 100 for one in report.exercise} == {"logits": True, "maps": True}
    assert report.verdict is not None
    assert report.verdict.word == "verified"


def test_a_graph_that_ignores_its_input_is_not(tmp_path: Path) -> None:
    path = graph(
        tmp_path / "same.onnx",
        onnx.helper.make_node("Mul", ["x", "zero"], ["z"]),
        node("Add", "z", "w"),
        zero=0,
        w=[1, 2, 3, 4],
    )
    report = build(path, **SHAPE)
    assert report.verdict is not None
    assert report.verdict.word == "partly verified"
    assert "y does not vary enough" in "; ".join(report.verdict.missing)


def test_a_graph_that_draws_random_numbers_is_refused(tmp_path: Path) -> None:
    path = graph(
        tmp_path / "random.onnx", onnx.helper.make_node("RandomNormalLike", ["x"], ["r"]), node("Add", "x", "r")
    )
    with pytest.raises(
        ModelError, match=r"The ONNX file is not deterministic: it draws random numbers \(RandomNormalLike\)"
    ):
        build(path, verify="quick", **SHAPE)


def test_nan_in_the_file_itself_ends_the_build(tmp_path: Path) -> None:
    path = graph(tmp_path / "nan.onnx", node("Mul", "x", "w"), w=[1, float("nan"), 1, 1])
    with pytest.raises(ModelError, match="The ONNX file itself returns NaN in output 'y'"):
        build(path, verify="quick", **SHAPE)


def half(path: Path) -> Path:
    """``x`` [B, 4] to ``y``, weights, inputs and outputs in half precision."""
    import numpy as np

    helper = onnx.helper
    made = helper.make_graph(
        [node("Mul", "x", "w")],
        "net",
        [helper.make_tensor_value_info("x", 10, ["B", 4])],
        [helper.make_tensor_value_info("y", 10, ["B", 4])],
        [onnx.numpy_helper.from_array(np.float16([1, 2, 3, 4]), "w")],
    )
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def test_a_file_in_half_precision_is_not_reduced_again(tmp_path: Path) -> None:
    """It exited with 0, and had written and compared nothing."""
    path = half(tmp_path / "half.onnx")
    with pytest.raises(UsageError, match='is already in float16, so precision="fp16" has no effect'):
        build(path, verify="quick", **SHAPE)
    assert sorted(file.name for file in tmp_path.glob("half*")) == ["half.onnx"]
