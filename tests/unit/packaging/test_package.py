"""Which files a package format takes, and which files make up a model."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="models are built from ONNX files")

import numpy as np
import onnx
from small_graphs import write_graph

from adaptrt import OutputError, UsageError
from adaptrt.packaging.package import package, prepare
from adaptrt.specs.packagers import PACKAGERS, Package, PackageRequest


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


class Nested:
    """A package with a folder, as for Triton."""

    name, title, options = "nested", "Nested", None

    def write(self, request: PackageRequest, folder: Path) -> Package:
        for path, text in (("best/1/model", "new"), ("best/config", "new")):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        (folder / "best" / "empty").mkdir()
        return Package(files=(Path("best/1/model"), Path("best/config")))


def contents(folder: Path) -> dict[str, str | None]:
    return {
        path.relative_to(folder).as_posix(): None if path.is_dir() else path.read_text() for path in folder.rglob("*")
    }


def test_overwriting_replaces_files_and_not_folders(tmp_path: Path) -> None:
    """Another version of the model, say, that someone else has put there."""
    model, output = write_graph(tmp_path / "best.onnx"), tmp_path / "models"
    (output / "best" / "2").mkdir(parents=True)
    (output / "best" / "2" / "model").write_text("mine")
    (output / "best" / "config").write_text("old")
    before = contents(output)
    with pytest.raises(OutputError, match="already contains best"):
        package(Nested(), model, output)
    assert contents(output) == before
    package(Nested(), model, output, overwrite=True)
    added = {"best/config": "new", "best/1": None, "best/1/model": "new", "best/empty": None}
    assert contents(output) == before | added


def test_what_cannot_be_replaced_leaves_everything(tmp_path: Path) -> None:
    model, output = write_graph(tmp_path / "best.onnx"), tmp_path / "models"
    (output / "best" / "config").mkdir(parents=True)
    (output / "best" / "config" / "mine").write_text("mine")
    before = contents(output)
    with pytest.raises(OutputError, match="config is a folder"):
        package(Nested(), model, output, overwrite=True)
    assert contents(output) == before
