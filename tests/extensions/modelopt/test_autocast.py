"""Half precision by AutoCast: on the tiny adapter, and on the trained YOLOv5n. Runs where ModelOpt is installed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("modelopt.onnx.autocast", reason="needs NVIDIA ModelOpt (pip install 'adaptrt-modelopt[modelopt]')")
pytest.importorskip("adaptrt_modelopt", reason="the extension is not installed (pip install adaptrt-modelopt)")

import onnx

import adaptrt
from adaptrt import GraphError, Report

FIXTURE = Path(__file__).parents[2] / "fixtures" / "yolov5n_shapes.pt"
HALF = {"fp16": onnx.TensorProto.FLOAT16, "bf16": onnx.TensorProto.BFLOAT16}
NOTHING = '[plugins]\ndisable = ["modelopt"]\n'


def convert(**options: Any) -> Report:
    request = {"adapter": "tiny", "precision": "fp16", "target": 10, "verify": "quick", **options}
    if Path("plugins.toml").is_file():
        request.setdefault("plugins_file", "plugins.toml")
    return adaptrt.convert(request.pop("source", "detector"), **request)


def typed(report: Report) -> onnx.ModelProto:
    return onnx.load(report.files["reduced"].path)


def half_weights(model: onnx.ModelProto, precision: str = "fp16") -> int:
    return sum(weight.data_type == HALF[precision] for weight in model.graph.initializer)


def makers(model: onnx.ModelProto) -> dict[str, int]:
    """The type of what each node computes, by its name."""
    values = onnx.shape_inference.infer_shapes(model).graph
    types = {value.name: value.type.tensor_type.elem_type for value in [*values.value_info, *values.output]}
    return {node.name: types[node.output[0]] for node in model.graph.node if node.op_type != "Cast"}


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_autocast_types_the_graph_and_the_links_hold(tiny: str, image: Path, precision: str) -> None:
    report = convert(precision=precision, image=image)
    assert {link.number: link.status for link in report.links if link.number != 4} == dict.fromkeys(
        (0, 1, 2, 3, 5), "passed"
    )
    (note,) = (
        note for note in report.notes if note.startswith(f"{precision}: types chosen by AutoCast (nvidia-modelopt")
    )
    assert "ranges measured on 2 inputs" in note
    model = typed(report)
    assert half_weights(model, precision) > 0
    kinds = [value.type.tensor_type.elem_type for value in [*model.graph.input, *model.graph.output]]
    assert set(kinds) == {onnx.TensorProto.FLOAT}
    assert "adaptrt.spec" in {entry.key for entry in model.metadata_props}


def test_a_reduced_precision_graph_predicts_by_its_own_spec(tiny: str, image: Path) -> None:
    (found,) = adaptrt.load(convert(image=image).files["reduced"].path)(image)
    assert found.names == ("red", "green", "blue")


def test_box_decoding_and_what_is_named_stay_float32(tiny: str) -> None:
    float32 = onnx.load(str(convert(precision="fp32", verify="none").onnx))
    convolution = next(node.name for node in float32.graph.node if node.op_type == "Conv")
    kinds = makers(typed(convert(keep_fp32=(f"^{convolution}$",))))
    assert kinds[convolution] == onnx.TensorProto.FLOAT
    last = float32.graph.node[-1].name
    assert kinds[last] == onnx.TensorProto.FLOAT, "pixel coordinates"
    assert onnx.TensorProto.FLOAT16 in kinds.values()


def test_a_build_gets_its_types_by_autocast_and_a_typed_file_keeps_its_own(tiny: str) -> None:
    convert(precision="fp32", verify="none")
    built = adaptrt.build("detector.onnx", precision="fp16", target=10, verify="quick", output="built")
    assert built.link(3).status == "passed"
    assert any("ranges measured on 2 inputs" in note for note in built.notes)
    again = adaptrt.build(built.files["reduced"].path, precision="fp16", target=10, verify="none", output="again")
    assert not any("AutoCast" in note for note in again.notes)


def test_settings_reach_autocast(tiny: str) -> None:
    Path("plugins.toml").write_text('[settings.modelopt]\nop_types_to_exclude = ["Conv"]\nsamples = 1\n')
    report = convert()
    model = typed(report)
    convolutions = {node.name for node in model.graph.node if node.op_type == "Conv"}
    assert {makers(model)[name] for name in convolutions} == {onnx.TensorProto.FLOAT}
    assert any("ranges measured on 1 inputs" in note for note in report.notes)


def test_what_autocast_cannot_do_says_what_to_do_without_it(tiny: str) -> None:
    Path("plugins.toml").write_text('[settings.modelopt]\nnodes_to_exclude = ["("]\n')
    with pytest.raises(GraphError, match="AutoCast cannot convert this graph to fp16") as caught:
        convert()
    assert caught.value.hint is not None
    assert "disable" in caught.value.hint


def test_disabled_it_is_out_of_the_way(tiny: str) -> None:
    Path("plugins.toml").write_text(NOTHING)
    report = convert()
    assert "modelopt" not in report.plugins
    assert not any("AutoCast" in note for note in report.notes)


def test_a_trained_yolov5_in_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The links hold, the file is half as large, and the same nodes compute in half as by adaptrt's own rules."""
    pytest.importorskip("ultralytics", reason="the fixture is a YOLOv5")
    monkeypatch.chdir(tmp_path)
    shutil.copy(FIXTURE, "best.pt")
    report = convert(source="best.pt", adapter="yolov5", output="autocast.onnx")
    assert report.link(3).status == "passed"
    own = convert(source="best.pt", adapter="yolov5", output="own.onnx", plugins_file=_file("off.toml", NOTHING))
    assert report.files["reduced"].bytes < 0.55 * report.files["onnx"].bytes
    half = {name for name, kind in makers(typed(report)).items() if kind == onnx.TensorProto.FLOAT16}
    assert half == {name for name, kind in makers(typed(own)).items() if kind == onnx.TensorProto.FLOAT16}
    assert len(half) > 200


def _file(name: str, text: str) -> Path:
    Path(name).write_text(text)
    return Path(name)
