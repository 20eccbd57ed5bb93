"""``adaptrt build``: any ONNX file, with and without a spec; what comes without TensorRT."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adaptrt.backends.tensorrt.generations import TENSORRT
from adaptrt.cli.engine_flags import build_from_flags
from adaptrt.cli.request import build_request_from_flags
from adaptrt.errors import UsageError
from adaptrt.specs import BuildOptions

Convert = Callable[[str], Path]

NOTHING: dict[str, Any] = {
    "workspace": None, "opt_level": None, "tf32": None, "timing_cache": True, "version_compatible": False,
    "hardware_compatible": None, "strip_weights": False, "refittable": False, "plugin_libs": (),
    "tactic_sources": None, "compute_capability": None, "build_timeout": None, "device": None,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _without_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    for flavor in ("full", "lean", "dispatch"):
        monkeypatch.setitem(TENSORRT.modules, flavor, ())  # type: ignore[arg-type]


def test_no_flag_leaves_everything_to_tensorrt() -> None:
    assert build_from_flags(NOTHING) == BuildOptions()


@pytest.mark.parametrize(
    ("flags", "field", "value"),
    [
        ({"workspace": "4"}, "workspace", 4 << 30),
        ({"workspace": "512M"}, "workspace", 512 << 20),
        ({"workspace": "1.5g"}, "workspace", 3 << 29),
        ({"opt_level": 0}, "optimization_level", 0),
        ({"tf32": False}, "tf32", False),
        ({"hardware_compatible": "ampere+"}, "hardware_compatible", "ampere+"),
        ({"plugin_libs": ("a.so", "b.so")}, "plugin_libs", ("a.so", "b.so")),
        ({"tactic_sources": "CUBLAS, cudnn"}, "tactic_sources", ("CUBLAS", "cudnn")),
        ({"tactic_sources": ""}, "tactic_sources", ()),
        ({"compute_capability": "8.6, 12.0"}, "compute_capabilities", ("8.6", "12.0")),
        ({"build_timeout": 60.0}, "timeout", 60.0),
        ({"device": "cuda:1"}, "device", 1),
    ],
)
def test_flags(flags: dict[str, Any], field: str, value: Any) -> None:
    assert getattr(build_from_flags({**NOTHING, **flags}), field) == value


@pytest.mark.parametrize(
    "flags",
    [{"workspace": "lots"}, {"workspace": "0"}, {"device": "gpu"}, {"opt_level": 7}, {"build_timeout": float("nan")}],
)
def test_flags_that_cannot_be(flags: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        build_from_flags({**NOTHING, **flags})
    assert caught.value.hint


def test_a_request() -> None:
    flags = {
        **NOTHING, "source": "a.onnx", "output": None, "imgsz": None, "batch": "1:8:32", "shape": (), "min_shape": (),
        "opt_shape": (), "max_shape": (), "set_dynamic_batch": True, "verify": "quick", "target": "10", "to": "engine, onnx",
        "precision": None, "precision_fp16": True, "precision_bf16": False, "precision_int8": False, "keep_fp32": ("head",), "cache": False,
        "image": None, "require": None, "ort_custom_ops": (), "plugins_file": None, "calib": None, "calib_images": None,
        "calib_batch": None, "calib_method": None, "calib_cache": None, "data": None, "data_images": None,
        "data_limit": None, "max_loss": None, "recipe": None, "keep_fp16": (), "quantize_also": (),
        "decoder": None, "names": None, "diagnose": False,
    }  # fmt: skip
    request = build_request_from_flags(flags, command="adaptrt build a.onnx")
    assert (request.source, request.adapter, request.precision, request.target) == ("a.onnx", "", "fp16", "10")
    assert request.shapes.batch is not None
    assert (request.shapes.batch.opt, request.set_dynamic_batch, request.cache) == (8, True, False)
    assert request.keep_fp32 == ("head",)
    assert request.to == ("engine", "onnx")


def test_half_precision_is_written_and_checked_without_tensorrt(adaptrt: Any, converted: Convert) -> None:
    path = converted("detector")
    result = adaptrt("build", path, "--fp16", "--target", "10", "--verify", "quick", "--json")
    assert result.code == 0
    links = {link["number"]: link for link in result.json["links"]}
    assert links[3]["status"] == "passed"
    assert links[4]["reason"] == "no .engine file was built: TensorRT is not installed"
    written = {Path(record["path"]).name for record in result.json["files"].values()}
    assert written == {"detector.fp16.onnx"}
    assert sorted(file.name for file in path.parent.glob("detector.*")) == [
        "detector.build.report.html",
        "detector.build.report.json",
        "detector.fp16.onnx",
        "detector.onnx",
    ]


def test_the_summary_for_people(adaptrt: Any, converted: Convert, monkeypatch: pytest.MonkeyPatch) -> None:
    path = converted("detector")
    monkeypatch.chdir(path.parent)
    path.with_name("detector.report.html").write_text("the page of an earlier conversion")
    result = adaptrt("build", path, "--fp16", "--target", "10", "--verify", "quick")
    assert result.code == 0
    assert "reduced precision vs. reference" in result.out
    assert "adaptrt inspect" in result.out
    assert "detector.fp16.onnx" in result.out
    assert "detector.build.report.html" in result.out
    assert "detector.report.html" not in result.out


def test_nothing_can_come_of_it_without_tensorrt(adaptrt: Any, converted: Convert) -> None:
    path = converted("detector")
    result = adaptrt("build", path, "--verify", "quick")
    assert result.code == 3
    assert "TensorRT is not installed; building an engine requires the full library." in result.err
    assert result.err.endswith("\nInstall it: pip install 'adaptrt[trt]' (Linux, NVIDIA GPU).\n")
    assert [file.name for file in path.parent.glob("detector*")] == ["detector.onnx"]


def test_an_engine_asked_for_by_name_is_refused_without_tensorrt(adaptrt: Any, converted: Convert) -> None:
    path = converted("detector")
    result = adaptrt("build", path, "--to", "onnx,engine", "--fp16", "--target", "10", "--verify", "quick")
    assert result.code == 3
    assert "TensorRT is not installed; building an engine requires the full library." in result.err
    assert result.err.endswith("Install it: pip install 'adaptrt[trt]' (Linux, NVIDIA GPU). Without it: --to onnx.\n")


def test_a_conversion_without_tensorrt_is_offered(adaptrt: Any, tiny: str) -> None:
    for words in ("engine", "onnx,engine"):
        result = adaptrt("convert", "-a", tiny, "detector", "--to", words)
        assert result.code == 3
        assert result.err.endswith(
            "Without it: --to onnx; adaptrt build makes the other files later, from the ONNX file.\n"
        )


def test_to_onnx_writes_the_reduced_graph_alone(adaptrt: Any, converted: Convert) -> None:
    path = converted("detector")
    result = adaptrt("build", path, "--to", "onnx", "--fp16", "--verify", "quick", "--json")
    assert result.code == 0, result.err
    assert [Path(record["path"]).name for record in result.json["files"].values()] == ["detector.fp16.onnx"]
    assert result.json["links"][4]["reason"] == "no file was built: none is requested with --to"
    nothing = adaptrt("build", path, "--to", "onnx")
    assert nothing.code == 2
    assert "--to onnx does not build anything" in nothing.err


def test_a_file_without_a_spec_needs_its_shapes(adaptrt: Any, converted: Convert) -> None:
    path = without_spec(converted("detector"))
    result = adaptrt("build", path, "--fp16", "--target", "10", "--verify", "quick")
    assert result.code == 2
    assert "Input 'images' has dynamic axes" in result.err
    assert "--shape images=1..16x3x64x64" in result.err
    given = adaptrt("build", path, "--fp16", "--target", "10", "--verify", "quick", "--shape", "images=1..4x3x64x64")
    assert given.code == 0
    assert adaptrt("build", path, "--fp16", "--target", "10", "--batch", "1:4", "--verify", "none").code == 0
    wrong = adaptrt("build", path, "--fp16", "--target", "10", "--shape", "image=1..4x3x64x64")
    assert wrong.code == 2
    assert "Did you mean 'images'?" in wrong.err


@pytest.mark.parametrize("foreign", [False, True])
@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (("--batch", "1:2:4"), ("axis 0 is fixed at 1 in the graph, not batch:1..4@2", "--set-dynamic-batch")),
        (("--imgsz", "32"), ("axis 2 is fixed at 64 in the graph, not 32", "Use images=1x3x64x64")),
        (("--shape", "images=1x3x64x32"), ("Profile 0, input 'images': axis 3 is fixed at 64",)),
    ],
)
def test_shapes_that_the_graph_cannot_take(
    foreign: bool, wish: tuple[str, ...], words: tuple[str, ...], adaptrt: Any, tiny: str
) -> None:
    """Said by name before anything runs; a wish is never dropped without a word."""
    assert adaptrt("convert", "detector", "--adapter", tiny, "--dynamic", "none", "--verify", "none").code == 0
    if foreign:
        without_spec(Path("detector.onnx"))
    result = adaptrt("build", "detector.onnx", "--fp16", "--target", "10", "--verify", "quick", *wish)
    assert result.code == 2, result.err
    assert all(word in result.err for word in words), result.err


def without_spec(path: Path) -> Path:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(str(path))
    del model.metadata_props[:]
    onnx.save(model, str(path))
    return path


@pytest.fixture
def to_engine(converted: Convert, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A converted file, on a machine that could build an engine from it."""
    path = converted("detector")
    monkeypatch.setattr("adaptrt.backends.tensorrt.engine_backend.engine_unavailable_reason", lambda *_: None)
    return path


def test_int8_needs_a_quantized_graph(adaptrt: Any, to_engine: Path) -> None:
    result = adaptrt("build", to_engine, "--int8", "--verify", "quick", "--json")
    assert result.code == 8
    assert "QuantizeLinear and DequantizeLinear" in result.err
    assert result.json["stages"] == [], "no installed plugin quantizes without --calib"


def test_a_plugin_that_needs_images_does_not_quantize_without(
    adaptrt: Any, to_engine: Path, install_extension: Callable[..., str]
) -> None:
    install_extension("quantizer", """
        from adaptrt import needs_calib

        @hookimpl
        @needs_calib
        def quantize(ctx, onnx_path, spec, precision):
            raise AssertionError
    """)  # fmt: skip
    result = adaptrt("build", to_engine, "--int8", "--verify", "quick", "--json")
    assert result.code == 8
    assert result.json["stages"] == []


def test_a_plugin_that_replaces_reduce_precision_may_quantize(
    adaptrt: Any, to_engine: Path, install_extension: Callable[..., str]
) -> None:
    install_extension("quantizer", """
        @hookimpl
        def quantize(ctx, onnx_path, spec, precision):
            ctx.warn(f"Asked for {precision.name} with {len(ctx.samples)} samples.")
    """)  # fmt: skip
    result = adaptrt("build", to_engine, "--int8", "--verify", "quick")
    assert result.code == 8
    assert "Asked for int8 with 2 samples." in result.err
    assert "QuantizeLinear and DequantizeLinear" in result.err


def test_a_batch_that_is_dynamic_already(adaptrt: Any, converted: Convert) -> None:
    result = adaptrt("build", converted("detector"), "--set-dynamic-batch", "--fp16", "--target", "10")
    assert result.code == 7
    assert "is already dynamic" in result.err


def test_a_fixed_batch_made_dynamic(adaptrt: Any, tiny: str) -> None:
    assert adaptrt("convert", "detector", "--adapter", tiny, "--dynamic", "none", "--verify", "none").code == 0
    result = adaptrt(
        "build", "detector.onnx", "--set-dynamic-batch", "--batch", "1:2:4", "--fp16", "--target", "10",
        "--verify", "quick", "--json",
    )  # fmt: skip
    assert result.code == 0, result.err
    link = result.json["links"][2]
    assert (link["status"], link["reason"]) == ("passed", "batches 1, 2, 3 compared with 1")
    onnx = pytest.importorskip("onnx")
    dynamic = onnx.load("detector.dynamic.onnx")
    assert dynamic.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert Path("detector.fp16.onnx").is_file()


def test_a_batch_that_cannot_be_made_dynamic(adaptrt: Any, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["x"], ["flat"], axis=0), helper.make_node("MatMul", ["flat", "w"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", 1, [2, 3])],
        [helper.make_tensor_value_info("y", 1, [1, 4])],
        [helper.make_tensor("w", 1, [6, 4], [0.5] * 24)],
    )
    path = tmp_path / "mixes.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), str(path))
    result = adaptrt("build", path, "--set-dynamic-batch", "--fp16", "--target", "10", "--verify", "quick")
    assert result.code == 7
    assert "cannot be made dynamic" in result.err
    assert "Export the model again with a dynamic batch." in result.err
    assert [file.name for file in tmp_path.glob("mixes*")] == ["mixes.onnx"]


def test_a_file_that_is_none(adaptrt: Any, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"nothing")
    result = adaptrt("build", tmp_path / "x.onnx", "--fp16", "--target", "10")
    assert result.code == 7
    assert "not a readable ONNX file" in result.err
