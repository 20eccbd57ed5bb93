"""``adaptrt tune`` finds the layer that loses int8 its score, and its recipe is repeated."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from small_convnet import write_convnet, write_images

FACTOR = 400


def write_outlier(path: Path) -> Path:
    """The convolutional network with one channel ``FACTOR`` times larger up to ``mixer``, which computes the same."""
    write_convnet(path)
    model = onnx.load(path)
    for one in model.graph.initializer:
        array = numpy_helper.to_array(one).copy()
        if one.name == "stem.weight":
            array[15] *= FACTOR
        elif one.name == "body.weight":
            array[15] *= FACTOR
            array[:, 15] /= FACTOR
        elif one.name == "mixer.weight":
            array[15] /= FACTOR
        one.CopyFrom(numpy_helper.from_array(array, one.name))
    addition = next(index for index, node in enumerate(model.graph.node) if node.name == "add")
    for position, name in enumerate(("relu", "body")):  # a residual addition in float, by itself
        model.graph.node[addition + position].input[position] = f"{name}.same"
        same = onnx.helper.make_node("Identity", [name], [f"{name}.same"], name=f"{name}.same")
        model.graph.node.insert(addition, same)
    onnx.save(model, path)
    return path


def quantized(path: str) -> set[str]:
    """The layers of a graph that read dequantized values."""
    nodes = onnx.load(path).graph.node
    made = {name for node in nodes if node.op_type == "DequantizeLinear" for name in node.output}
    return {node.name for node in nodes if made & set(node.input)}


@pytest.fixture
def net(net: Path, tmp_path: Path) -> Path:
    write_images(tmp_path / "calib", 64)
    write_images(tmp_path / "val", 40, seed=1)
    return write_outlier(net)


def test_the_command_that_names_the_layer_runs_as_it_is_printed(adaptrt: Any, net: Path, tmp_path: Path) -> None:
    """It named labels, which a run without verification rejects, and a file that it does not write."""
    words = ("--calib", tmp_path / "calib", "--data", tmp_path / "val", "--data-limit", 100, "--max-loss", 2)
    for output, written in (("small.onnx", "small.onnx"), ("out/", "net.int8.onnx")):
        failed = adaptrt("quantize", net, *words, "-o", output)
        assert failed.code == 9
        command = failed.err.partition("first tensor that differs:\n")[2].splitlines()[0]
        again, compare = (shlex.split(part)[1:] for part in command.split(" && "))
        assert compare == ["compare", "net.onnx", f"unverified/{written}"]
        result = adaptrt(*again)
        assert result.code == 0, result.err
        assert "The first beyond its limit:" in adaptrt(*compare).out


def test_the_layer_that_loses_the_score_stays_float(adaptrt: Any, net: Path, tmp_path: Path) -> None:
    calib, val = tmp_path / "calib", tmp_path / "val"
    result = adaptrt("quantize", net, "--calib", calib, "--data", val, "--max-loss", 2)
    assert result.code == 9  # the fixture is sensitive
    result = adaptrt("tune", net, "--calib", calib, "--data", val, "--max-loss", 2, "--json")
    assert result.code == 0, result.err
    tuning = result.json["tuning"]
    assert {block["name"]: block["precision"] for block in tuning["blocks"]}["mixer"] == "fp16"
    assert "int8" in {block["precision"] for block in tuning["blocks"]}
    chosen = next(point for point in tuning["points"] if point["chosen"])
    assert chosen["loss"] <= 2 < max(point["loss"] for point in tuning["points"])
    assert chosen["cost"] < 1
    assert sorted(path.name for path in Path().iterdir()) == [
        "net.onnx", "net.recipe.toml", "net.tune.report.html", "net.tune.report.json",
    ]  # fmt: skip
    assert [Path(one).name for one in result.json["reports"]] == ["net.tune.report.html", "net.tune.report.json"]
    page = Path("net.tune.report.html").read_text()
    assert "<svg" in page
    assert "<circle" in page
    assert Path("net.recipe.toml").read_text() == tuning["recipe"]

    result = adaptrt("quantize", net, "--recipe", "net.recipe.toml", "--calib", calib, "--data", val, "--max-loss", 2)
    assert result.code == 0, result.err
    assert "mixer" not in quantized("net.int8.onnx") != set()
    words = ("--recipe", "net.recipe.toml", "--calib", calib, "--data", val, "--max-loss", 2, "--to", "onnx")
    result = adaptrt("build", net, *words, "-o", "built.onnx")
    assert result.code == 0, result.err
    assert Path("built.onnx").read_bytes() == Path("net.int8.onnx").read_bytes()


@pytest.mark.full
def test_convert_repeats_a_recipe(adaptrt: Any, tiny: str, tmp_path: Path) -> None:
    """The graph that ``convert`` writes has the int8 layers of the one that ``quantize`` writes with the same recipe."""
    write_images(tmp_path / "calib", 20)
    Path("a.toml").write_text('precision = "int8"\nquantize-also = ["Conv"]\n')
    convert = ("convert", "detector", "--adapter", tiny, "--to", "onnx", "--verify", "none", "--no-cache")
    words = ("--recipe", "a.toml", "--calib", tmp_path / "calib", "--calib-images", 16, "--verify", "none")
    repeated = adaptrt(*convert, *words, "-o", "again.onnx")
    assert repeated.code == 0, repeated.err
    quantize = adaptrt("quantize", "again.onnx", *words, "-o", "q.int8.onnx")
    assert quantize.code == 0, quantize.err
    assert quantized("again.int8.onnx") == quantized("q.int8.onnx") != set()


@pytest.mark.full
def test_without_labels_predictions_stay_the_same(adaptrt: Any, net: Path, tmp_path: Path) -> None:
    result = adaptrt("tune", net, "--images", tmp_path / "calib", "--max-loss", 2, "-o", "found.toml")
    assert result.code == 0, result.err
    assert "mixer" in result.out
    assert "no labels" in result.out
    assert "calibrated on 12 of the images" in result.out
    assert Path("found.toml").is_file()


@pytest.mark.full
def test_half_precision_is_searched_alone(adaptrt: Any, net: Path, tmp_path: Path) -> None:
    result = adaptrt("tune", net, "--images", tmp_path / "calib", "--precision", "fp16", "--json")
    assert result.code == 0, result.err
    assert {point["precision"] for point in result.json["tuning"]["points"]} == {"fp16"}
    assert result.json["tuning"]["recipe"].startswith('precision = "fp16"\n')


@pytest.mark.full
def test_engines_are_timed_where_they_can_be_built(
    net: Path, copying: Any, install_extension: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adaptrt.api import run_tune
    from adaptrt.pipeline.tuning import latency
    from adaptrt.pipeline.tuning.request import TuneRequest
    from adaptrt.specs.calibration import CalibrationRequest

    module = install_extension(
        "seen",
        """
        seen = []

        @hookimpl
        def reduce_precision(ctx, onnx_path, spec, precision):
            asked, opset = ctx.request.precision, ctx.newest_opset
            seen.append((asked, precision.name, ctx.reduced_graph, opset, len(ctx.samples), ctx.samples[0]["images"].shape))
        """,
    )
    times = iter([1.0, 5.0, 3.0])
    monkeypatch.setattr(latency, "_median", lambda *_: next(times))
    request = TuneRequest(
        source=str(net), precision="int8", to=("copying",), images=tmp_path / "val", max_loss=2.0,
        calibration=CalibrationRequest(tmp_path / "calib"), target="8",
    )  # fmt: skip
    report = run_tune(request)
    assert report.tuning is not None
    timed = {point.title: point.milliseconds for point in report.tuning.points if point.milliseconds is not None}
    assert list(timed.values()) == [1.0, 5.0, 3.0]
    assert [request.precision.name for request in copying.requests] == ["fp16", "int8", "int8"]
    common = (17, request.sensitivity_images, (1, 3, 16, 16))
    assert sys.modules[module].seen == [
        ("int8", "fp16", True, *common),
        ("int8", "int8", False, *common),
        ("int8", "int8", False, *common),
    ]
    assert any("takes 3.000 ms and fp16 1.000 ms, so it is not recommended" in text for text in report.warnings)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "requires labeled images"),
        (("--images", "a", "--data", "b"), "--data and --images conflict"),
        (("--images", "a", "--max-loss", "-1"), "--max-loss must be between"),
        (("--images", "a", "--blocks", "0"), "--blocks must be at least 1"),
        (("--images", "a", "-o", "a.onnx"), "a recipe is a .toml file"),
        (("--images", "a", "-o", "a.toml/"), "Error: a.toml is a folder.\nChoose another name with -o.\n"),
        (("--images", "a", "--calib-images", "9"), "--calib-images needs --calib"),
    ],
)
def test_invalid_requests_are_rejected(adaptrt: Any, net: Path, words: tuple[str, ...], message: str) -> None:
    result = adaptrt("tune", net, *words)
    assert result.code in (2, 6)
    assert message in result.err


def test_a_limit_that_nothing_meets_leaves_no_recipe(adaptrt: Any, net: Path, tmp_path: Path, monkeypatch: Any) -> None:
    from adaptrt.pipeline.verification.by_metric import Loss, MetricVerification

    monkeypatch.setattr(MetricVerification, "loss", lambda *_, **__: Loss(7.0, 7.5))
    result = adaptrt("tune", net, "--images", tmp_path / "calib", "--max-loss", 2)
    assert result.code == 9
    assert "the least is 7.50" in result.err
    assert [path.name for path in Path().iterdir()] == ["net.onnx"]


@pytest.mark.parametrize("words", [("--int8",), ("--precision", "fp32")])
def test_a_recipe_for_another_precision_is_refused(adaptrt: Any, net: Path, words: tuple[str, ...]) -> None:
    Path("a.toml").write_text('precision = "fp16"\n')
    result = adaptrt("build", net, "--recipe", "a.toml", *words)
    assert result.code == 2
    assert f"is a recipe for fp16, and --precision is {words[-1].removeprefix('--')}" in result.err


def test_attention_is_quantized_only_if_it_is_named(tmp_path: Path) -> None:
    import onnx_ir as ir

    from adaptrt.quantization.placement import LayerPatterns, place

    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w"], ["q"], name="query"),
        onnx.helper.make_node("MatMul", ["q", "q"], ["scores"], name="attention"),
        onnx.helper.make_node("Softmax", ["scores"], ["p"], name="softmax"),
        onnx.helper.make_node("MatMul", ["p", "w2"], ["y"], name="last"),
    ]
    info = onnx.helper.make_tensor_value_info
    weights = [numpy_helper.from_array(np.eye(8, dtype=np.float32), name) for name in ("w", "w2")]
    graph = onnx.helper.make_graph(
        nodes, "a", [info("x", 1, [8, 8])], [info("y", 1, [8, 8])], weights
    )  # fmt: skip
    model = ir.from_proto(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]))
    assert [layer.node.name for layer in place(model, None).layers] == ["query"]
    found = place(model, None, LayerPatterns(also=("MatMul", "Softmax"))).layers
    assert [(layer.node.name, layer.axis, layer.positions) for layer in found] == [
        ("query", 1, (0,)),
        ("attention", None, (0, 1)),
        ("softmax", None, (0,)),
    ]
