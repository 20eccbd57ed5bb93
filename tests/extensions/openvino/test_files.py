"""Both files or none, the right two together, and what travels in them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("adaptrt_openvino", reason="the extension is not installed (pip install adaptrt-openvino)")
pytest.importorskip("openvino", reason="needs OpenVINO (pip install 'adaptrt-openvino[openvino]')")
pytest.importorskip("onnx", reason="models are built from ONNX files")

from small_graphs import SPEC, some_images, write_graph

import adaptrt
import adaptrt_openvino.build
from adaptrt import BuildError, DependencyError, ModelError, UsageError
from adaptrt.packaging.package import prepare
from adaptrt.specs.backend_parts import ReadsSpec
from adaptrt.specs.backends import BACKENDS, OpenOptions
from adaptrt.specs.descriptions import Tensor
from adaptrt_openvino.executed import Executed

BACKEND: Any = BACKENDS.find("openvino")
REQUEST = Callable[..., Any]


@pytest.fixture
def built(small: Path, request_for: REQUEST) -> Path:
    request = request_for(small, command="adaptrt convert --adapter tiny")
    files = BACKEND.build(request).files
    assert {suffix: path.name for suffix, path in files.items()} == {
        ".openvino.xml": "best.openvino.xml",
        ".openvino.bin": "best.openvino.bin",
    }
    return request.output


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refused(path: Path, message: str, kind: type[Exception] = ModelError, **options: Any) -> None:
    with pytest.raises(kind, match=message):
        BACKEND.open(path, OpenOptions(**options))


def test_the_spec_travels(built: Path) -> None:
    assert BACKEND.open(built, OpenOptions()).spec == SPEC
    assert isinstance(BACKEND, ReadsSpec)
    assert BACKEND.read_spec(built) == SPEC
    assert SPEC.labels[0] in BACKEND.describe(built).spec.labels


def test_what_inspect_shows(built: Path) -> None:
    shown = BACKEND.describe(built)
    assert shown.kind == "OpenVINO model"
    assert shown.bytes == sum(path.stat().st_size for path in built.parent.iterdir())
    assert shown.facts["precision"] == "fp32"
    assert shown.facts["computes"].startswith("f32 in ")
    assert shown.facts["command"] == "adaptrt convert --adapter tiny"
    assert shown.inputs == [Tensor("images", "float32", ("1..4", 3, 16, 16))]
    assert [one.name for one in shown.outputs] == ["logits", "maps"]
    assert shown.operators["Convolution"] == 1


def test_a_failed_build_leaves_what_was_there(
    built: Path, small: Path, request_for: REQUEST, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in built.parent.iterdir()}
    monkeypatch.setattr(adaptrt_openvino.build, "executed_precision", lambda *_: Executed({"bf16": 3}, {"bf16": 2}))
    with pytest.raises(BuildError, match="does not compute this model in fp32 on .*: 3 layers compute in bf16"):
        BACKEND.build(request_for(small))
    assert {path: path.read_bytes() for path in built.parent.iterdir()} == before


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\x08\x08garbage", "OpenVINO cannot read broken.onnx"), (b"", "OpenVINO cannot read broken.onnx")],
)
def test_a_file_that_is_not_onnx(tmp_path: Path, request_for: REQUEST, content: bytes, message: str) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    request = request_for(path)
    with pytest.raises(BuildError, match=message):
        BACKEND.build(request)
    assert not names(request.output.parent)


def test_inputs_and_shapes_of_the_spec_are_those_of_the_graph(small: Path, request_for: REQUEST) -> None:
    from dataclasses import replace

    from adaptrt import InputSpec

    renamed = replace(SPEC, inputs=(InputSpec.image(16, 16, name="pixels"),))
    with pytest.raises(BuildError, match="The graph takes images; the spec has pixels"):
        BACKEND.build(request_for(small, spec=renamed))
    four = InputSpec("images", ((*SPEC.inputs[0].dims, SPEC.inputs[0].dims[-1]),))
    with pytest.raises(BuildError, match="does not accept the shapes of the spec"):
        BACKEND.build(request_for(small, spec=replace(SPEC, inputs=(four,))))


def test_what_openvino_does_not_do_is_refused(small: Path, request_for: REQUEST) -> None:
    with pytest.raises(BuildError, match="does not compute in tf32, only in fp32, fp16, bf16, int8"):
        BACKEND.build(request_for(small, "tf32"))
    with pytest.raises(UsageError, match="cannot keep individual nodes in float32"):
        adaptrt_openvino.build.build(request_for(small, "bf16", keep_fp32=("conv",)))


def test_without_its_weights(built: Path) -> None:
    built.with_suffix(".bin").unlink()
    refused(built, r"best.openvino.xml has no weights: best.openvino.bin is missing")


def test_with_the_weights_of_another_build(built: Path, tmp_path: Path, request_for: REQUEST) -> None:
    """They have the same size, and OpenVINO would take them."""
    other = request_for(write_graph(tmp_path / "other.onnx", seed=5), output=tmp_path / "other.openvino.xml")
    BACKEND.build(other)
    (tmp_path / "other.openvino.bin").replace(built.with_suffix(".bin"))
    refused(built, "best.openvino.bin does not belong to best.openvino.xml")


def test_cut_short(built: Path) -> None:
    weights = built.with_suffix(".bin")
    weights.write_bytes(weights.read_bytes()[:100])
    refused(built, "OpenVINO cannot read best.openvino.xml: Incorrect weights in bin file!")
    built.write_text(built.read_text(encoding="utf-8")[:2000], encoding="utf-8")
    refused(built, "OpenVINO cannot read best.openvino.xml: ")


@pytest.mark.parametrize(
    ("was", "becomes", "message"),
    [
        ("&quot;version&quot;:1}", "&quot;version&quot;:7}", "was written by a later adaptrt-openvino|has version 7"),
        ("&quot;precision&quot;:&quot;fp32&quot;", "&quot;precision&quot;:&quot;fp8&quot;", "a later adaptrt-openvino"),
        ("&quot;quantized&quot;:0", "&quot;quantized&quot;:[]", "build record in best.openvino.xml cannot be read"),
        ("&quot;inputs&quot;:[", "&quot;inputs&quot;:[3,", "The spec in this file cannot be read"),
    ],
)
def test_records_that_cannot_be_read(built: Path, was: str, becomes: str, message: str) -> None:
    text = built.read_text(encoding="utf-8")
    assert was in text
    built.write_text(text.replace(was, becomes), encoding="utf-8")
    refused(built, message)


def test_a_model_of_another_tool(tmp_path: Path, small: Path) -> None:
    """It runs, in float32; how images go in is not known."""
    from adaptrt_openvino.runtime import import_openvino, new_core

    path = tmp_path / "foreign.openvino.xml"
    import_openvino().save_model(new_core().read_model(small), path)
    runner = BACKEND.open(path, OpenOptions(device="cpu"))
    assert runner.spec is None
    assert runner.run(some_images(3))["logits"].shape == (3, 5)
    assert BACKEND.describe(path).facts == {"built by": "another tool"}
    with pytest.raises(ModelError, match="foreign.openvino.xml has no adaptrt spec"):
        adaptrt.load(path)


@pytest.mark.parametrize("wrong", ["missing", "unknown", "type"])
def test_inputs_that_do_not_fit(built: Path, wrong: str) -> None:
    """OpenVINO itself would take zeros for the first, and cast the last."""
    images = some_images(1)["images"]
    given = {"missing": {}, "unknown": {"images": images, "more": images}, "type": {"images": images.astype("float64")}}
    runner = BACKEND.open(built, OpenOptions())
    with pytest.raises(ModelError, match="The inputs do not match the model") as caught:
        runner.run(given[wrong])
    assert caught.value.hint == "The file expects images ('1..4', 3, 16, 16) float32."


def test_closed(built: Path) -> None:
    runner = BACKEND.open(built, OpenOptions())
    runner.close()
    with pytest.raises(ModelError, match="has been closed"):
        runner.run(some_images(1))


def test_options_that_do_not_fit(built: Path, tmp_path: Path) -> None:
    refused(built, "run only on the CPU; got device 'cuda:0'", UsageError, device="cuda:0")
    library = tmp_path / "lib.so"
    library.write_bytes(b"nothing")
    refused(built, "lib.so is not a library of OpenVINO operators", UsageError, plugin_libs=(library,))


def test_without_openvino(built: Path, small: Path, request_for: REQUEST, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adaptrt_openvino.runtime.installed", lambda: False)
    target = BACKEND.targets["openvino"]
    assert BACKEND.unavailable(target) == "OpenVINO is not installed"
    with pytest.raises(BuildError, match="No OpenVINO model can be built: OpenVINO is not installed"):
        BACKEND.build(request_for(small))
    with pytest.raises(DependencyError, match="OpenVINO is not installed") as caught:
        BACKEND.open(built, OpenOptions())
    assert caught.value.hint == "Install it: pip install 'adaptrt-openvino[openvino]'"
    with pytest.raises(DependencyError, match="OpenVINO is not installed"):
        BACKEND.check_runtime()


def test_nothing_is_reported_to_anybody(tmp_path: Path) -> None:
    """Importing openvino leaves an identifier in the user's home, and sends a report with it."""
    program = "from adaptrt_openvino.runtime import import_openvino\nimport_openvino().Core()\n"
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    environment |= {"HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    assert not names(tmp_path)


def test_a_package_has_the_weights(built: Path) -> None:
    made = prepare(built, options=None, name=None, image=None, params={})
    assert [path.name for path in made.files] == ["best.openvino.xml", "best.openvino.bin"]
