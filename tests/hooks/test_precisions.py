"""A precision of another distribution: asked for by name, written into the graph, compared as it says; core is not edited."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from unittest.mock import MagicMock, call

import click
import onnx
import pytest

import adaptrt
from adaptrt import BuildOptions, UsageError
from adaptrt.backends.tensorrt.build.builder import configure
from adaptrt.backends.tensorrt.build.precision_report import make_precision_report
from adaptrt.backends.tensorrt.generations import generation_of
from adaptrt.cli.convert import convert
from adaptrt.cli.request import request_from_flags
from adaptrt.errors import PluginError
from adaptrt.onnxfile.files import OnnxFiles
from adaptrt.pipeline.layers.subjects import precision_of
from adaptrt.specs import precision_named
from adaptrt.specs.backends import BACKENDS, target_named

SOURCE = """
from dataclasses import replace
from adaptrt.specs.precisions.fp16 import PRECISION as FP16

TOLERANCES = {unit: replace(one, atol=one.atol / 2, rtol=one.rtol / 2) for unit, one in FP16.tolerances.items()}
PRECISION = replace(FP16, name="half-strict", tolerances=TOLERANCES)
"""


@pytest.fixture
def strict(tiny: str, fake_distribution: Callable[..., Path]) -> str:
    fake_distribution(
        "adaptrt-strict",
        {"adaptrt.precisions": {"half-strict": "strict_precision:PRECISION"}},
        modules={"strict_precision": SOURCE},
    )
    return tiny


def test_it_is_written_and_verified(strict: str) -> None:
    report = adaptrt.convert("detector", adapter="tiny", precision="half-strict", to="onnx", verify="quick", html=False)
    assert Path("detector.half-strict.onnx").is_file()
    fp16 = adaptrt.convert("detector", adapter="tiny", precision="fp16", to="onnx", verify="quick", html=False)
    limits = [check.limit for check in report.link(3).checks]
    assert report.link(3).status == "passed"
    assert limits < [check.limit for check in fp16.link(3).checks]
    assert adaptrt.load("detector.half-strict.onnx").spec == adaptrt.load("detector.fp16.onnx").spec


BRAIN = """
from adaptrt.specs import Precision, Tolerance

WIDE = Tolerance(0.5, 0.5, "a test")
PRECISION = Precision(
    name="brain",
    bits=16,
    form="cast",
    onnx_type="bfloat16",
    tolerances={"pixels": Tolerance(40.0, reason="a test"), "scores": WIDE, "logits": WIDE, "values": WIDE},
    limits={"box_iou": 0.5, "score": 0.4},
    perturbation=2**-8,
)
"""


@pytest.mark.full
def test_another_element_type(tiny: str, fake_distribution: Callable[..., Path]) -> None:
    """A precision that shares nothing with core's: its type is in the graph, its limits in links 3 and 5."""
    fake_distribution(
        "adaptrt-brain",
        {"adaptrt.precisions": {"brain": "brain_precision:PRECISION"}},
        modules={"brain_precision": BRAIN},
    )
    report = adaptrt.convert("detector", adapter="tiny", precision="brain", to="onnx", verify="quick", html=False)
    weights = onnx.load("detector.brain.onnx").graph.initializer
    assert onnx.TensorProto.BFLOAT16 in {one.data_type for one in weights}
    assert report.link(3).status == "passed"
    assert {check.reason for check in report.link(3).checks} == {"a test"}
    assert 40.0 in {check.limit for check in report.link(3).checks}
    assert not BACKENDS.find("tensorrt").express(precision_named("brain"), target_named("10")).unsupported
    assert BACKENDS.find("tensorrt").express(precision_named("brain"), target_named("8")).unsupported


EIGHT_BITS = """
from dataclasses import replace
from adaptrt.specs import Tolerance
from adaptrt.specs.precisions.fp16 import PRECISION as FP16
from adaptrt.specs.precisions.int8 import PRECISION as INT8

WIDE = Tolerance(0.5, 0.5, "a test of 8-bit floats")
PRECISION = replace(
    INT8,
    name="float8",
    quantized_type="float8_e4m3fn",
    tolerances=dict.fromkeys(("scores", "logits", "values"), WIDE) | {"pixels": Tolerance(40.0, reason=WIDE.reason)},
    limits={"box_iou": 0.5, "score": 0.4},
    perturbation=2**-4,
    rest="",
)
FOUR = replace(INT8, name="nibbles", bits=4, quantized_type="", rest="")
MIXED = replace(FOUR, name="mixed4", rest="fp16")
CAST = replace(FP16, name="cast8", bits=8, onnx_type="float8_e4m3fn")
"""
WRITES_THEM = """
@hookimpl
def quantize(ctx, onnx_path, spec, precision):
    import numpy as np, onnx
    from onnx import TensorProto, helper, numpy_helper, version_converter

    source = onnx.load(str(onnx_path))
    model = version_converter.convert_version(source, 20)
    model.metadata_props.extend(source.metadata_props)
    constants = [
        helper.make_tensor("one", TensorProto.FLOAT, [], [1.0]),
        helper.make_tensor("zero", TensorProto.FLOAT8E4M3FN, [], [0.0]),
    ]
    nodes = []
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            for position in (0, 1):
                name = f"{node.output[0]}_{position}"
                nodes.append(helper.make_node("QuantizeLinear", [node.input[position], "one", "zero"], [name + "_q"]))
                nodes.append(helper.make_node("DequantizeLinear", [name + "_q", "one", "zero"], [name + "_dq"]))
                node.input[position] = name + "_dq"
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(constants)
    path = ctx.workdir / "float8.onnx"
    onnx.save(model, str(path))
    return path
"""


@pytest.fixture
def eight_bits(tiny: str, fake_distribution: Callable[..., Path]) -> str:
    """Precisions that core does not write: floats of 8 bits, with Q/DQ nodes and with casts, and integers of 4."""
    names = {"float8": "eight_bits:PRECISION", "nibbles": "eight_bits:FOUR", "cast8": "eight_bits:CAST"}
    names["mixed4"] = "eight_bits:MIXED"
    fake_distribution("adaptrt-eight", {"adaptrt.precisions": names}, modules={"eight_bits": EIGHT_BITS})
    return tiny


def test_eight_bit_floats(eight_bits: str, install_extension: Callable[..., str], image: Path) -> None:
    """Everything that asks for bits, types, tolerances and limits takes them from the precision; no name is known."""
    install_extension("writes_float8", WRITES_THEM)
    report = adaptrt.convert(
        "detector", adapter="tiny", precision="float8", to="onnx", image=image, verify="quick", html=False
    )
    assert report.link(3).status == "passed"
    assert "matched boxes (IoU 0.5, score within 0.4)" in {check.name for check in report.link(3).checks}
    file = OnnxFiles().outline(Path("detector.float8.onnx"))
    assert file.weight_types["float8_e4m3fn"] == 1
    assert precision_of(file).name == "float8"
    with adaptrt.load("detector.float8.onnx") as model:
        assert len(model(image)) == 1


def test_backends_say_which_types_they_quantize_to(eight_bits: str) -> None:
    def taken(backend: str, precision: str) -> list[str]:
        found = BACKENDS.find(backend)
        return [
            name
            for name in found.targets
            if not found.express(precision_named(precision), target_named(name)).unsupported
        ]

    assert precision_named("nibbles").quantized_type == "int4"
    assert sorted(taken("tensorrt", "float8")) == ["10", "11"]
    assert taken("tensorrt", "nibbles") == taken("rtx", "float8") == taken("rtx", "nibbles") == []
    assert sorted(taken("tensorrt", "int8")) == ["10", "11", "8"]


def test_cores_quantizer_writes_int8_only(eight_bits: str, image: Path) -> None:
    with pytest.raises(UsageError, match="adaptrt quantizes graphs to int8, and nibbles is int4"):
        adaptrt.convert("detector", adapter="tiny", precision="nibbles", to="onnx", calib=image.parent, html=False)


def test_tune_searches_only_for_what_core_quantizes(eight_bits: str) -> None:
    """It would measure int8, and write a recipe for the other precision."""
    with pytest.raises(UsageError, match="tune does not search for mixed4") as caught:
        adaptrt.tune("detector.onnx", images=".", precision="mixed4", html=False)
    assert caught.value.hint == "Available: int8, fp16."


def test_casts_to_a_type_that_no_operator_computes_in_are_rejected(eight_bits: str) -> None:
    """Nearly all nodes would stay float32, in a file that is called by the precision's name."""
    with pytest.raises(
        PluginError, match="operators do not compute in float8_e4m3fn, so the graph would stay"
    ) as caught:
        adaptrt.convert("detector", adapter="tiny", precision="cast8", to="onnx", verify="none", html=False)
    assert "'cast8' of adaptrt-eight 1.0" in caught.value.message
    assert "form='qdq'" in (caught.value.hint or "")
    assert not list(Path().glob("detector.*"))


@pytest.mark.parametrize(("precision", "shown"), [("float8", "FP8"), ("nibbles", "Int4")])
def test_layers_of_an_engine_are_matched_by_type(eight_bits: str, precision: str, shown: str) -> None:
    layer = {"Name": "conv", "LayerType": "Convolution", "Inputs": [{"Format/Datatype": shown}], "Outputs": []}
    report = make_precision_report(json.dumps({"Layers": [layer]}), precision, plan_bytes=500, float32_bytes=2000)
    assert report.evidence.startswith("1 of 1 visible layers compute in ")


def test_a_backend_says_how_it_computes_in_it(strict: str) -> None:
    tensorrt, precision = BACKENDS.find("tensorrt"), precision_named("half-strict")
    assert not tensorrt.express(precision, target_named("8")).graph
    assert tensorrt.express(precision, target_named("11")).graph


def test_tensorrt_builds_in_what_it_is_not_in_its_name(strict: str) -> None:
    trt, config = MagicMock(), MagicMock()
    configure(trt, generation_of("8"), config, BuildOptions(), "half-strict", None)
    flags = trt.BuilderFlag
    assert config.set_flag.call_args_list == [call(flags.TF32), call(flags.FP16)]
    layer = {"Name": "conv", "LayerType": "Convolution", "Inputs": [{"Format/Datatype": "Half"}]}
    layer["Outputs"] = layer["Inputs"]
    report = make_precision_report(json.dumps({"Layers": [layer]}), "half-strict", plan_bytes=1000, float32_bytes=2000)
    assert report.evidence == "1 of 1 visible layers compute in fp16"


def test_another_distribution_knows_it_by_what_it_is(strict: str) -> None:
    runtime = pytest.importorskip("adaptrt_openvino.runtime", reason="the extension is not installed")
    modes = {
        name: runtime.mode_of(precision_named(name)) for name in ("half-strict", "fp16", "bf16", "int8", "fp32", "tf32")
    }
    assert modes == {
        "half-strict": "fp16", "fp16": "fp16", "bf16": "bf16", "int8": "int8", "fp32": "fp32", "tf32": None,
    }  # fmt: skip


def test_it_has_a_switch(strict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Like core's, and in conflict with them; options that a command has anyway are not taken over."""
    monkeypatch.setattr(convert, "params", list(convert.params))

    def asked(*words: str) -> str:
        context = convert.make_context("convert", ["detector", "--adapter", "tiny", *words])
        return request_from_flags(context.params, command="").precision

    assert asked("--half-strict") == "half-strict"
    assert asked("--half-strict", "--precision", "half-strict", "--tf32") == "half-strict"
    assert asked("--half") == asked("--fp16") == "fp16"
    assert asked("--tf32") == "fp32"
    with pytest.raises(UsageError, match="Conflicting precisions: fp16, half-strict"):
        asked("--half-strict", "--fp16")
    with pytest.raises(click.NoSuchOption):
        asked("--half-stric")


def test_an_unknown_one_lists_it(strict: str) -> None:
    with pytest.raises(UsageError) as caught:
        adaptrt.convert("detector", adapter="tiny", precision="half-stric")
    assert "half-strict" in (caught.value.hint or "")
