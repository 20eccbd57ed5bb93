"""Which files a package format takes, and which files make up a model."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="models are built from ONNX files")

import numpy as np
import onnx
from small_graphs import write_graph

from adaptrt import UsageError
from adaptrt.packaging.package import package, prepare
from adaptrt.specs.packagers import PACKAGERS


@pytest.mark.parametrize("name", ["deepstream", "runtime"])
def test_a_format_for_tensorrt_rejects_the_files_of_other_backends(name: str, tmp_path: Path) -> None:
    engine = tmp_path / "best.rtx.engine"
    engine.write_bytes(b"an engine")
    with pytest.raises(UsageError, match=r"does not support best\.rtx\.engine, a file of TensorRT-RTX") as caught:
        package(PACKAGERS.find(name), engine, tmp_path / "out")
    assert "ONNX Runtime or TensorRT" in str(caught.value.hint)
    assert not (tmp_path / "out").exists()


def test_external_weights_are_files_of_a_model(tmp_path: Path) -> None:
    model = write_graph(tmp_path / "best.onnx")
    graph = onnx.load(model)
    onnx.save(graph, model, save_as_external_data=True, location="best.onnx.data", size_threshold=0)
    made = prepare(model, options=None, name=None, image=None, params={})
    assert [path.name for path in made.files] == ["best.onnx", "best.onnx.data"]
    assert {name: array.dtype for name, array in made.sample.items()} == {"images": np.float32}
