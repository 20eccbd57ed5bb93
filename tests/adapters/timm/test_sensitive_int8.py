"""A Swin whose attention int8 cannot represent: what default placement, fp16 and ``tune`` do about it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("timm", reason="needs timm")
pytest.importorskip("onnxruntime", reason="runs the result")

import adaptrt
from adaptrt import CalibrationRequest, LabeledData, Report
from adaptrt.specs.recipe import read_recipe

FIXTURE = Path(__file__).parents[2] / "fixtures" / "swin_shapes"
EVERYTHING = ("MatMul", "Softmax", "LayerNormalization")
pytestmark = [
    pytest.mark.skipif(not FIXTURE.is_dir(), reason="tests/fixtures/swin_shapes is not here: train_swin.py"),
    pytest.mark.full,
]


@pytest.fixture(scope="module")
def sensitive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from sensitive_swin import write_sensitive_swin

    folder = tmp_path_factory.mktemp("sensitive")
    report = adaptrt.convert(
        write_sensitive_swin(folder / "swin"), adapter="swin", output=folder / "best.onnx", to="onnx",
        batch="1:8:8", verify="none", html=False,
    )  # fmt: skip
    assert report.onnx is not None
    return report.onnx


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """To calibrate on, and to score on."""
    from draw_shapes import write_classification_set

    folder = tmp_path_factory.mktemp("images")
    return write_classification_set(folder / "calib", 64, 3001), write_classification_set(folder / "val", 200, 2003)


def lost(source: Path, images: tuple[Path, Path], **options: Any) -> float:
    """Points of top-1 that the file loses in this precision."""
    calib, data = images
    int8 = options.setdefault("precision", "int8") == "int8"
    report: Report = adaptrt.build(
        source, output=source.with_name("other.onnx"), to="onnx", html=False, verify="quick",
        calib=CalibrationRequest(calib, images=64) if int8 else None,
        data=LabeledData(data, max_loss=100) if int8 else None, **options,
    )  # fmt: skip
    check = report.link(3).checks[0]
    assert (check.kind, check.samples) == ("metric", 200)
    return float(check.value)


def test_attention_layernorm_and_softmax_cost_accuracy(sensitive: Path, images: tuple[Path, Path]) -> None:
    assert lost(sensitive, images, quantize_also=EVERYTHING) >= 3


def test_the_default_placement_loses_nothing_of_it(sensitive: Path, images: tuple[Path, Path]) -> None:
    assert lost(sensitive, images) <= 0.5


def test_fp16_holds_link_3(sensitive: Path) -> None:
    report = adaptrt.build(
        sensitive, output=sensitive.with_name("half.onnx"), to="onnx", target=10, precision="fp16", html=False
    )
    assert report.link(3).status == "passed"


def test_tune_holds_its_limit_on_other_images_too(
    sensitive: Path, images: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The 200 images were not seen by the search."""
    from draw_shapes import write_classification_set

    calib, _ = images
    words: list[object] = ["tune", sensitive, "--data", write_classification_set(tmp_path / "search", 100, 4001)]
    words += ["--calib", calib, "--max-loss", 0.5, "--blocks", 12, "--sensitivity-images", 4, "--no-latency"]
    recipe = tmp_path / "recipe.toml"
    search = run([*words, "-o", recipe, "--json"], capsys)["tuning"]
    chosen = next(point for point in search["points"] if point["chosen"])
    assert max(chosen["loss"], chosen["confidence"]) <= 0.5
    assert chosen["cost"] < 0.75  # halfway between int8 and fp16

    found = read_recipe(recipe)
    kept = {"keep_fp32": found.keep_fp32, "keep_fp16": found.keep_fp16, "quantize_also": found.quantize_also}
    assert lost(sensitive, images, **kept) <= 0.5


def test_convert_repeats_the_recipe_that_tune_wrote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the network in timm: the block that the search kept in float stays float, and the score holds on other images."""
    from draw_shapes import write_classification_set
    from sensitive_swin import write_sensitive_swin

    monkeypatch.chdir(tmp_path)
    write_sensitive_swin(Path("swin"), values="layers.1.blocks.0")
    images = (("calib", 8, 3001), ("search", 24, 4001), ("val", 50, 2003))
    calib, search, data = (write_classification_set(Path(name), count, seed) for name, count, seed in images)
    convert: list[object] = ["convert", "swin", "--adapter", "swin", "--batch", "1:8:8", "--to", "onnx", "--json"]
    run([*convert, "--verify", "none", "-o", "best.onnx"], capsys)
    words: list[object] = ["tune", "best.onnx", "--calib", calib, "--data", search, "--max-loss", 0.5, "--no-latency"]
    run([*words, "--blocks", 12, "--sensitivity-images", 1, "--json"], capsys)

    int8: list[object] = ["--calib", calib, "--recipe", "best.recipe.toml"]
    words = [*convert, *int8, "--data", data, "--max-loss", 1, "--verify", "quick", "-o", "again.onnx"]
    check = run(words, capsys)["links"][3]["checks"][0]
    assert (check["kind"], check["samples"]) == ("metric", 50)
    assert check["value"] <= 1

    quantize: list[object] = ["quantize", "best.onnx", "--verify", "none", "--json"]
    run([*quantize, *int8, "-o", "tuned.int8.onnx"], capsys)
    run([*quantize, "--calib", calib, "-o", "default.int8.onnx"], capsys)
    again, tuned, default = (placed(Path(f"{name}.int8.onnx")) for name in ("again", "tuned", "default"))
    kept = read_recipe(Path("best.recipe.toml")).keep_fp16
    half = {name: "FLOAT16" for name in default if any(re.search(pattern, name) for pattern in kept)}
    assert default["model/layers/layers.1/blocks.0/attention/projection/MatMul"] == "int8"
    assert half["model/layers/layers.1/blocks.0/attention/projection/MatMul"] == "FLOAT16"
    assert again == tuned == {**default, **half}


def placed(path: Path) -> dict[str, str]:
    """The products and convolutions of a graph by name: ``int8`` if they read dequantized values, else their type."""
    import onnx

    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    types = {one.name: one.type.tensor_type.elem_type for one in model.graph.value_info}
    dequantized = {one.output[0] for one in model.graph.node if one.op_type == "DequantizeLinear"}
    return {
        one.name: "int8" if dequantized & set(one.input) else onnx.TensorProto.DataType.Name(types[one.output[0]])
        for one in model.graph.node
        if one.op_type in {"Conv", "MatMul", "Gemm"}
    }


def run(words: list[object], capsys: pytest.CaptureFixture[str]) -> Any:
    """The JSON of a command."""
    from adaptrt.cli.boundary import run as run_command
    from adaptrt.cli.main import cli

    capsys.readouterr()
    code = run_command(cli, list(map(str, words)), "adaptrt")
    output = capsys.readouterr()
    assert code == 0, output.err
    return json.loads(output.out)
