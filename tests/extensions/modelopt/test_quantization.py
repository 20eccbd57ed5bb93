"""int8 by ModelOpt's ONNX quantization, on the tiny adapter. Runs where ModelOpt is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip(
    "modelopt.onnx.quantization", reason="needs NVIDIA ModelOpt (pip install 'adaptrt-modelopt[modelopt]')"
)
pytest.importorskip("adaptrt_modelopt", reason="the extension is not installed (pip install adaptrt-modelopt)")

import onnx
from small_convnet import write_convnet, write_images

import adaptrt
from adaptrt import CalibrationRequest, GraphError, Report


@pytest.fixture
def calib(tmp_path: Path) -> Path:
    write_images(tmp_path / "calib", 20)
    return tmp_path / "calib"


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> onnx.ModelProto:
    monkeypatch.chdir(tmp_path)
    return onnx.load(str(write_convnet(tmp_path / "net.onnx")))


def build(calib: Path, method: str = "minmax", **options: Any) -> Report:
    request = CalibrationRequest(calib, images=12, method=method, cache=options.pop("cache", None))  # type: ignore[arg-type]
    options = {"to": "onnx", "target": 8, "verify": "quick", **options}
    return adaptrt.build("net.onnx", precision="int8", calib=request, output="net.int8.onnx", html=False, **options)


def layers(model: onnx.ModelProto) -> set[str]:
    """Names of the nodes that read dequantized weights."""
    weights = {weight.name for weight in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}

    def quantized(name: str) -> bool:
        maker = makers.get(name)
        while maker is not None and maker.op_type in ("QuantizeLinear", "DequantizeLinear"):
            name = maker.input[0]
            if name in weights:
                return True
            maker = makers.get(name)
        return False

    return {node.name for node in model.graph.node if len(node.input) > 1 and quantized(node.input[1])}


@pytest.mark.parametrize("method", ["minmax", "entropy"])
def test_its_ranges_in_the_layers_opset_and_metadata_of_core(source: onnx.ModelProto, calib: Path, method: str) -> None:
    report = build(calib, method)
    assert report.link(3).status == "passed"
    (note,) = (note for note in report.notes if note.startswith("int8: quantized by nvidia-modelopt"))
    assert f"{method} over 12 images" in note
    assert "opset 19 brought down to 17" in note
    model = onnx.load("net.int8.onnx")
    assert [(entry.domain, entry.version) for entry in model.opset_import if not entry.domain] == [("", 17)]
    assert {entry.key: entry.value for entry in model.metadata_props} == {
        entry.key: entry.value for entry in source.metadata_props
    }
    assert not any("changed during the run" in warning for warning in report.warnings)
    Path("plugins.toml").write_text("[settings.modelopt]\nquantize = false\n")
    own = build(calib, method, plugins_file="plugins.toml")
    assert not any("nvidia-modelopt" in note for note in own.notes)
    assert {"body"} <= layers(model) <= layers(onnx.load("net.int8.onnx"))


def test_what_it_lacks_is_left_to_core(source: onnx.ModelProto, calib: Path) -> None:
    report = build(calib, "percentile")
    assert "ModelOpt has no calibration method percentile: adaptrt quantizes" in report.notes
    assert any(note.startswith("int8: ") and "percentile over 12 images" in note for note in report.notes)


def test_a_graph_that_it_leaves_in_float_is_left_to_core(tiny: str, calib: Path) -> None:
    adaptrt.convert("detector", adapter=tiny, to="onnx", target=8, verify="none", html=False, output="net.onnx")
    report = build(calib, quantize_also="Conv")
    assert any(note.startswith("ModelOpt leaves all ") for note in report.notes)
    assert any(note.startswith("int8: ") and "minmax over 12 images" in note for note in report.notes)


def test_a_calibration_cache_is_not_used(source: onnx.ModelProto, calib: Path, tmp_path: Path) -> None:
    report = build(calib, cache=tmp_path / "calib.json")
    assert "--calib-cache is not used: ModelOpt measures ranges again" in report.notes
    assert not (tmp_path / "calib.json").exists()


def test_what_it_cannot_do_says_what_to_do_without_it(
    source: onnx.ModelProto, calib: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import modelopt.onnx.quantization

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("unsupported")

    monkeypatch.setattr(modelopt.onnx.quantization, "quantize", fail)
    with pytest.raises(GraphError, match="ModelOpt cannot quantize this graph: AssertionError: unsupported") as caught:
        build(calib)
    assert caught.value.hint is not None
    assert "quantize = false" in caught.value.hint
