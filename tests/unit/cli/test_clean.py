"""``adaptrt clean``: fewer nodes, the same results, or nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_convnet import write_convnet

from adaptrt.backends.onnxruntime.runner import OnnxRuntimeRunner
from adaptrt.contributions import GraphPass
from adaptrt.graph import passes


@pytest.fixture
def wordy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The network of another tool: an Identity, a constant expression, a node twice, a negative index."""
    monkeypatch.chdir(tmp_path)
    write_convnet(Path("net.onnx"), None)
    model = onnx.load("net.onnx")
    graph = model.graph
    (stem,) = [node for node in graph.node if node.name == "stem"]
    stem.input[0] = "same"
    graph.initializer.append(numpy_helper.from_array(np.array([-1]), "last"))
    added = [
        helper.make_node("Identity", ["images"], ["same"]),
        helper.make_node("Add", ["head.bias", "head.bias"], ["twice"]),
        helper.make_node("Gather", ["logits0", "last"], ["one"], axis=1),
        helper.make_node("Gather", ["logits0", "last"], ["other"], axis=1),
        helper.make_node("Add", ["one", "other"], ["both"]),
        helper.make_node("Add", ["both", "twice"], ["logits"]),
    ]
    graph.node[-1].output[0] = "logits0"
    graph.node.insert(0, added[0])
    graph.node.extend(added[1:])
    model.metadata_props.add(key="names", value="a tool's own")
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "wordy.onnx")
    return Path("wordy.onnx")


def test_the_same_results_with_fewer_nodes(adaptrt: Any, wordy: Path) -> None:
    result = adaptrt("clean", wordy, "-o", "out/clean.onnx", "--shape", "images=1..4x3x16x16")
    assert result.code == 0, result.err
    before, after = onnx.load(wordy), onnx.load("out/clean.onnx")
    assert len(before.graph.node) == 14
    assert len(after.graph.node) == 11
    assert "11 nodes instead of 14" in result.out
    assert {one.key: one.value for one in after.metadata_props} == {"names": "a tool's own"}
    assert sorted(path.name for path in Path("out").iterdir()) == ["clean.onnx"]
    images = {"images": np.random.default_rng(0).random((3, 3, 16, 16), np.float32)}
    wanted, given = (OnnxRuntimeRunner(Path(path)).run(images) for path in (wordy, "out/clean.onnx"))
    np.testing.assert_allclose(given["logits"], wanted["logits"], rtol=1e-5)


def test_what_a_killed_run_left_is_removed_by_the_next(adaptrt: Any, wordy: Path) -> None:
    left = Path(".earlier.adaptrt")
    left.mkdir()
    for name in ("lock", "cleaned.onnx"):
        (left / name).touch()
    assert adaptrt("clean", wordy, "-o", "clean.onnx", "--shape", "images=1x3x16x16").code == 0
    assert sorted(path.name for path in Path().iterdir()) == ["clean.onnx", "net.onnx", "wordy.onnx"]


def test_a_full_disk_is_named(adaptrt: Any, wordy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("adaptrt.pipeline.clean.publish", full)
    result = adaptrt("clean", wordy, "-o", "new/clean.onnx", "--shape", "images=1..4x3x16x16")
    assert result.code == 2
    assert "No space left on the device holding new.\nFree some space" in result.err
    assert not Path("new").exists()


def test_a_pass_that_changes_the_results_writes_nothing(
    adaptrt: Any, wordy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def double(model: Any) -> None:
        import onnx_ir as ir

        value = model.graph.initializers["mixer.weight"]
        value.const_value = ir.tensor(2 * value.const_value.numpy(), name="mixer.weight")

    monkeypatch.setattr(
        passes, "standard_passes", lambda **_: [GraphPass(name="double", order=1, run=double, reason="a mistake")]
    )
    result = adaptrt("clean", wordy, "-o", "clean.onnx", "--shape", "images=1x3x16x16")
    assert result.code == 9
    assert "change the results: logits" in result.err
    assert sorted(path.name for path in Path().iterdir()) == ["net.onnx", "wordy.onnx"]


def test_what_cannot_be_checked_is_refused(adaptrt: Any, wordy: Path) -> None:
    assert "--shape images=" in adaptrt("clean", wordy, "-o", "clean.onnx").err
    assert "overwrite" in adaptrt("clean", wordy, "-o", wordy).err
    graph = helper.make_graph(
        [helper.make_node("RandomNormalLike", ["x"], ["y"]), helper.make_node("Add", ["x", "y"], ["z"])],
        "random",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 4])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "random.onnx")
    result = adaptrt("clean", "random.onnx", "-o", "clean.onnx")
    assert result.code == 7
    assert "not deterministic" in result.err
    assert not Path("clean.onnx").exists()
