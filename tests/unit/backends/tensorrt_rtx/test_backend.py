"""What TensorRT-RTX says of itself: precisions, where it builds and runs, which operators it has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adaptrt.backends.tensorrt import availability
from adaptrt.backends.tensorrt.generations import RTX, generation_of, import_tensorrt
from adaptrt.backends.tensorrt.manifest import RuntimeEnvironment, check_manifest
from adaptrt.backends.tensorrt_rtx import backend
from adaptrt.backends.tensorrt_rtx.backend import BACKEND
from adaptrt.errors import DependencyError, EngineError
from adaptrt.graph.lint.operators import refusal
from adaptrt.specs import Precision, precision_named
from adaptrt.specs.backends import BACKENDS, Backend, OpenOptions

TARGET = BACKEND.targets["rtx"]


def test_it_is_found_by_name() -> None:
    assert isinstance(BACKEND, Backend)
    assert BACKENDS.find("rtx") is BACKEND


def test_its_generation_is_what_the_library_has() -> None:
    trt = import_tensorrt(RTX, builder=True).trt
    features = generation_of("rtx")
    assert generation_of(trt.__version__, RTX) is features
    assert set(features.compute_capabilities) == {
        f"{name[2:-1]}.{name[-1]}" for name in trt.ComputeCapability.__members__ if name.startswith("SM")
    }
    assert {name.upper() for name in features.tactic_sources} == set(trt.TacticSource.__members__)
    assert features.strip_plan == ("STRIP_PLAN" in trt.BuilderFlag.__members__)
    assert features.progress == hasattr(trt, "IProgressMonitor")
    assert features.needs_strong_flag == ("STRONGLY_TYPED" not in trt.NetworkDefinitionCreationFlag.__members__)


@pytest.mark.parametrize(
    ("name", "graph"), [("fp32", False), ("tf32", False), ("fp16", True), ("bf16", True), ("int8", True)]
)
def test_precisions_are_in_the_graph(name: str, graph: bool) -> None:
    expression = BACKEND.express(precision_named(name), TARGET)
    assert (expression.graph, expression.unsupported) == (graph, "")


@pytest.mark.parametrize(
    ("form", "bits", "onnx_type", "reason"),
    [("cast", 8, "float8e4m3fn", "float8e4m3fn"), ("qdq", 4, "float32", "Q/DQ nodes for int4")],
)
def test_precisions_of_others_that_were_not_tried(form: Any, bits: int, onnx_type: str, reason: str) -> None:
    precision = Precision(name="x", bits=bits, form=form, onnx_type=onnx_type, tolerances={}, perturbation=0.1)
    assert reason in BACKEND.express(precision, TARGET).unsupported


def test_it_builds_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert BACKEND.unavailable(TARGET) is None
    monkeypatch.setattr(availability, "can_build", lambda product: False)
    assert BACKEND.unavailable(TARGET) == "TensorRT-RTX is not installed"
    monkeypatch.setattr(backend.sys, "platform", "win32")  # type: ignore[attr-defined]
    assert "requires Linux" in str(BACKEND.unavailable(TARGET))


def test_opening_an_engine_says_why_it_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = tmp_path / "best.rtx.engine"
    engine.write_bytes(b"plan")
    monkeypatch.setattr(backend, "no_gpu_reason", lambda device: "no NVIDIA GPU is visible")
    with pytest.raises(DependencyError, match="No NVIDIA GPU is visible"):
        BACKEND.open(engine, OpenOptions())
    monkeypatch.setattr(backend, "no_gpu_reason", lambda device: None)
    monkeypatch.setattr(backend, "identify_device", lambda device: ("NVIDIA H100", "9.0"))
    with pytest.raises(DependencyError, match=r"8\.0, 8\.6, 8\.9, 12\.0, 12\.1, not on 9\.0 \(NVIDIA H100\)"):
        BACKEND.open(engine, OpenOptions())


def test_a_manifest_says_where_its_engine_runs(manifest_for: Any, tmp_path: Path) -> None:
    engine = tmp_path / "best.rtx.engine"
    manifest = manifest_for(product="rtx", tensorrt="1.7.1", gpu="", capability="", compute_capabilities=("8.6",))
    here = RuntimeEnvironment("1.7.1", "8.6", "NVIDIA RTX A4000", product="rtx")
    assert check_manifest(manifest, engine, here) == []
    wrong = {
        r"on compute capability 8\.6, not on 9\.0": RuntimeEnvironment("1.7.1", "9.0", "NVIDIA H100", product="rtx"),
        "only TensorRT-RTX can load it": RuntimeEnvironment("11.4.0", "8.6"),
        "runs on the version that built it": RuntimeEnvironment("1.8.0", "8.6", product="rtx"),
    }
    for message, other in wrong.items():
        with pytest.raises(
            EngineError, match=rf"built with TensorRT-RTX 1\.7\.1 for compute capability 8\.6.*{message}"
        ):
            check_manifest(manifest, engine, other)


def test_the_graph_check_knows_every_operator_that_its_parser_refuses() -> None:
    onnx = pytest.importorskip("onnx", reason="onnx lists its operators")
    trt = import_tensorrt(RTX, builder=True).trt
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    operators = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == "" and not schema.deprecated}
    unknown = {name for name in operators if not parser.supports_operator(name)}
    refused = {name for name in operators if (refusal(name, TARGET) or ("",))[0] == "unsupported"}
    # NonZero and the attention of opset 27 have an importer, which then misses its plugin
    assert unknown <= refused
    assert refused - unknown <= {"NonZero", "CausalConvWithState", "LinearAttention"}
