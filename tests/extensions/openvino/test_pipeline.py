"""A conversion to OpenVINO as users run it: nothing of core knows this backend, and all of it works."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("adaptrt_openvino", reason="the extension is not installed (pip install adaptrt-openvino)")
pytest.importorskip("openvino", reason="needs OpenVINO (pip install 'adaptrt-openvino[openvino]')")
pytest.importorskip("onnx", reason="models are built from ONNX files")

from small_graphs import write_graph

import adaptrt
import adaptrt_openvino.runtime
from adaptrt import DependencyError, UsageError, VerificationError
from adaptrt.backends.tensorrt.generations import RTX, can_build
from adaptrt.cli.main import cli
from adaptrt.cli.results import require_formats
from adaptrt_openvino.runner import OpenVINORunner


def run(*words: str | Path, code: int = 0) -> str:
    done = CliRunner().invoke(cli, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done.output


def test_convert_inspect_and_predict(tiny: str, image: Path) -> None:
    report = adaptrt.convert("detector", adapter=tiny, to="onnx,openvino", image=image, html=False)
    assert sorted(path.name for path in Path().iterdir()) == [
        "detector.onnx",
        "detector.openvino.bin",
        "detector.openvino.xml",
        "detector.report.json",
    ]
    link = report.link(4)
    assert link.status == "passed"
    assert {(check.name, check.kind) for check in link.checks} >= {
        ("output0: boxes", "samples"),
        ("output0: boxes", "batch"),
        ("output0: scores", "samples"),
    }
    assert report.link(5).status == "passed"
    assert "convolutions and matrix products in f32" in " ".join(report.notes)
    written = json.loads(Path("detector.report.json").read_text(encoding="utf-8"))
    assert written["artifacts"][0]["record"]["layers"].keys() >= {"f32"}

    Path("detector.onnx").unlink()  # the two files are enough
    Path("detector.report.json").unlink()
    shown = run("inspect", "detector.openvino.xml", "--json")
    assert json.loads(shown)["facts"]["precision"] == "fp32"
    assert "detector.openvino.xml" in run("inspect", "detector.openvino.xml")
    assert run("predict", "detector.openvino.xml", image, "--json")
    with pytest.raises(UsageError, match="task 'detect' does not support this format"):
        require_formats(Path("detector.openvino.xml"), ["png"])


def test_predictions_are_those_of_the_onnx_file(tiny: str, image: Path) -> None:
    adaptrt.convert("detector", adapter=tiny, to=("onnx", "openvino"), verify="none", html=False)
    found: list[Any] = []
    for name in ("detector.onnx", "detector.openvino.xml"):
        with adaptrt.load(name) as model:
            found.append(model([image] * 5, conf=0.3))  # beyond the largest batch
    assert len(found[0]) == len(found[1]) == 5
    for one, other in zip(*found, strict=True):
        assert len(one) > 0
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-3)
        np.testing.assert_array_equal(one.labels, other.labels)


def test_fp16_is_called_weight_compression(tiny: str) -> None:
    report = adaptrt.convert("detector", adapter=tiny, to="onnx,openvino", precision="fp16", html=False)
    assert report.link(3).status == "not run"  # no reduced-precision graph: there is no detector.fp16.onnx
    assert report.link(4).status == "passed"
    assert any(note.startswith("OpenVINO fp16 is weight compression") for note in report.notes)


def test_int8_of_a_quantized_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime", reason="a build is compared with ONNX Runtime")
    monkeypatch.chdir(tmp_path)
    write_graph(Path("small.onnx"), quantized=True, levels=63)  # few enough for CPUs that saturate
    report = adaptrt.build("small.onnx", to="openvino", precision="int8", html=False)
    assert report.link(4).status == "passed"
    assert "OpenVINO computes 2 of 2 quantized convolutions and matrix products in int8" in report.notes
    assert Path("small.openvino.xml").exists()


def test_link_4_catches_what_computes_something_else(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = OpenVINORunner.run

    def shifted(self: OpenVINORunner, inputs: Any) -> dict[str, Any]:
        return {name: array + np.float32(0.01) for name, array in real(self, inputs).items()}

    monkeypatch.setattr(OpenVINORunner, "run", shifted)
    with pytest.raises(VerificationError, match="Link 4"):
        adaptrt.convert("detector", adapter=tiny, to="onnx,openvino", html=False)
    assert not list(Path().glob("detector.o*"))


def test_what_cannot_be_built_is_refused_before_the_model_is_loaded(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(message: str, kind: type[Exception], **options: Any) -> None:
        with pytest.raises(kind, match=message):
            adaptrt.convert("nothing.pt", adapter=tiny, to="openvino", html=False, **options)

    refused("does not compute in tf32, only in fp32, fp16, bf16, int8", UsageError, precision="tf32")
    monkeypatch.setattr(adaptrt_openvino.runtime, "installed", lambda: False)
    Path("nothing.pt").touch()
    refused("OpenVINO is not installed", DependencyError)


def test_beside_an_engine_each_gets_the_graph_that_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not can_build(RTX):
        pytest.skip("builds an engine without a GPU: needs TensorRT-RTX")
    pytest.importorskip("onnxruntime", reason="a build is compared with ONNX Runtime")
    monkeypatch.chdir(tmp_path)
    write_graph(Path("small.onnx"))
    report = adaptrt.build("small.onnx", to="openvino,rtx", precision="fp16", verify="quick", html=False)
    assert {Path(record.path).name for record in report.files.values()} == {
        "small.openvino.xml",
        "small.openvino.bin",
        "small.rtx.engine",
        "small.rtx.engine.json",
    }
    assert [record.name for record in report.artifacts] == ["openvino.xml", "rtx.engine"]
    assert report.artifacts[0].status == "passed"
    assert json.loads(Path("small.rtx.engine.json").read_text())["onnx"] == "small.fp16.onnx"
