"""A fixed batch made dynamic: which constants follow it, and what is said where that cannot be."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from patience import HANG

onnx = pytest.importorskip("onnx", reason="onnx makes the files")
pytest.importorskip("onnx_ir", reason="the graph is rewritten with onnx_ir")

from adaptrt.errors import GraphError  # noqa: E402
from adaptrt.graph import dynamic_batch  # noqa: E402
from adaptrt.graph.dynamic_batch import write_dynamic_batch  # noqa: E402
from adaptrt.onnxfile.files import OnnxFiles  # noqa: E402


def reshaping(path: Path, target: list[int], output: list[int], **attributes: Any) -> Path:
    """A graph of batch 2: x [2, 3, 4] to y, by one Reshape."""
    helper = onnx.helper
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["x", "target"], ["y"], name="view", **attributes)],
        "net",
        [helper.make_tensor_value_info("x", 1, [2, 3, 4])],
        [helper.make_tensor_value_info("y", 1, output)],
        [helper.make_tensor("target", 7, [len(target)], target)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    return path


@pytest.mark.parametrize("attributes", [{}, {"allowzero": 0}, {"allowzero": 1}], ids=["plain", "0 copies", "0 is zero"])
@pytest.mark.parametrize(
    ("target", "output"), [([2, -1, 4], [2, 3, 4]), ([2, 12], [2, 12]), ([6, 4], [6, 4]), ([-1, 4], [6, 4])]
)
def test_targets_that_hold_the_batch_follow_it(
    target: list[int], output: list[int], attributes: dict[str, int], tmp_path: Path
) -> None:
    """The dynamo exporter marks every Reshape with ``allowzero``, where a 0 does not copy the batch."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="runs the result")
    path = tmp_path / "dynamic.onnx"
    write_dynamic_batch(reshaping(tmp_path / "fixed.onnx", target, output, **attributes), path, OnnxFiles())
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", 3, 4]
    x = np.arange(60, dtype=np.float32).reshape(5, 3, 4)
    (y,) = session.run(None, {"x": x})
    np.testing.assert_array_equal(y, x.reshape(-1, *output[1:]))


@pytest.mark.parametrize("batch", [1, 2])
def test_windows_are_cut_and_put_back(batch: int, tmp_path: Path) -> None:
    """Windows stand beside the batch in one axis, and the last Reshape names the batch alone again."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="runs the result")
    helper = onnx.helper
    graph = helper.make_graph(
        [
            helper.make_node("Reshape", ["x", "cut"], ["windows"], name="cut"),
            helper.make_node("Softmax", ["windows"], ["weights"], axis=1),
            helper.make_node("Reshape", ["weights", "whole"], ["y"], name="whole", allowzero=1),
        ],
        "net",
        [helper.make_tensor_value_info("x", 1, [batch, 6, 2])],
        [helper.make_tensor_value_info("y", 1, [batch, 3, 2, 2])],
        [helper.make_tensor("cut", 7, [3], [3 * batch, 2, 2]), helper.make_tensor("whole", 7, [4], [batch, 3, 2, 2])],
    )
    fixed, dynamic = tmp_path / "fixed.onnx", tmp_path / "dynamic.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(fixed))
    write_dynamic_batch(fixed, dynamic, OnnxFiles())
    runners = [onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]) for path in (fixed, dynamic)]
    x = np.random.default_rng(0).random((3 * batch, 6, 2), np.float32)
    expected = np.concatenate([runners[0].run(None, {"x": part})[0] for part in np.split(x, 3)])
    np.testing.assert_array_equal(runners[1].run(None, {"x": x})[0], expected)


def test_a_target_with_a_real_zero_is_left_alone(tmp_path: Path) -> None:
    """With ``allowzero`` an axis may have no elements: that is no batch to be copied."""
    path = tmp_path / "dynamic.onnx"
    source = reshaping(tmp_path / "fixed.onnx", [2, 3, 4, 1], [2, 3, 4, 1], allowzero=1)
    model = onnx.load(str(source))
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 0
    model.graph.initializer[0].CopyFrom(onnx.helper.make_tensor("target", 7, [4], [2, 0, 4, 1]))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 0
    onnx.save(model, str(source))
    write_dynamic_batch(source, path, OnnxFiles())
    node = onnx.load(str(path)).graph.node[0]
    assert [attribute.i for attribute in node.attribute if attribute.name == "allowzero"] == [1]


def test_a_graph_that_breaks_is_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Two axes cannot both be found out; what onnx and onnx_ir have to say about it is theirs."""
    source = reshaping(tmp_path / "fixed.onnx", [2, 0, -1], [2, 0, 0], allowzero=1)
    with caplog.at_level(logging.WARNING), pytest.raises(GraphError) as caught:
        write_dynamic_batch(source, tmp_path / "dynamic.onnx", OnnxFiles())
    assert caught.value.message.startswith("The batch of fixed.onnx cannot be made dynamic: ")
    assert "\n" not in caught.value.message
    assert not caplog.records
    assert not (tmp_path / "dynamic.onnx").exists()


def test_two_builds_at_once_leave_the_logs_of_onnx_ir_as_they_were() -> None:
    level = logging.getLogger("onnx_ir").level
    inside, go_on = threading.Event(), threading.Event()

    def build() -> None:
        with dynamic_batch._quiet():
            inside.set()
            assert go_on.wait(HANG)

    other = threading.Thread(target=build)
    with dynamic_batch._quiet():
        other.start()
        inside.wait(0.2)  # long enough for a thread that nothing holds back
    go_on.set()
    other.join(HANG)
    found = logging.getLogger("onnx_ir").level
    logging.getLogger("onnx_ir").setLevel(level)
    assert found == level
