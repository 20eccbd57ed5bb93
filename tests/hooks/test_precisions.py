"""A precision of another distribution: asked for by name, written into the graph, compared as it says; core is not edited."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from unittest.mock import MagicMock, call

import onnx
import pytest

import adaptrt
from adaptrt import BuildOptions, UsageError
from adaptrt.backends.tensorrt.build.builder import configure
from adaptrt.backends.tensorrt.build.precision_report import make_precision_report
from adaptrt.backends.tensorrt.generations import generation_of
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


def test_an_unknown_one_lists_it(strict: str) -> None:
    with pytest.raises(UsageError) as caught:
        adaptrt.convert("detector", adapter="tiny", precision="half-stric")
    assert "half-strict" in (caught.value.hint or "")
