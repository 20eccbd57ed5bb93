"""The build on strict stand-ins of three generations: which names, flags and arguments it uses with each."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from adaptrt.backends.tensorrt.build import builder
from adaptrt.backends.tensorrt.build.builder import build_plan
from adaptrt.backends.tensorrt.build.messages import BuildMessage, Built
from adaptrt.backends.tensorrt.device import Device
from adaptrt.backends.tensorrt.generations import TensorRT
from adaptrt.errors import BuildError, ShapeError, UsageError
from adaptrt.specs import BuildOptions, InputSpec, ModelSpec, OutputGroup, OutputSpec, parse_shape

onnx = pytest.importorskip("onnx", reason="onnx makes the files")

DEVICE = Device(0, "NVIDIA Test", "9.0", 80 << 30, 70 << 30, "12.9", "580.1")
LAYERS = '{"Layers": [{"Name": "conv", "LayerType": "CaskConvolution", "Weights": {"Type": "Half", "Count": 10}}]}'


def write_model(path: Path, weights: type[np.floating[Any]] = np.float32, *, quantized: bool = False) -> Path:
    """Conv (trained), then Mul and Add that decode pixels."""
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    values = [
        numpy_helper.from_array(np.zeros((8, 3, 8, 8), weights), "w"),
        numpy_helper.from_array(np.full((1,), 32, weights), "stride"),
        numpy_helper.from_array(np.full((1,), 1, np.float32), "scale"),
        numpy_helper.from_array(np.zeros((1,), np.int8), "zero"),
    ]
    dtype = helper.np_dtype_to_tensor_dtype(np.dtype(weights))
    nodes = [
        helper.make_node("Conv", ["images", "w"], ["features"], name="/conv"),
        helper.make_node("Mul", ["features", "stride"], ["scaled"], name="/head/mul"),
        helper.make_node("Add", ["scaled", "stride"], ["boxes"], name="/head/add"),
    ]
    if quantized:
        nodes.insert(0, helper.make_node("QuantizeLinear", ["images", "scale", "zero"], ["quantized"], name="/q"))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("images", dtype, ["batch", 3, 32, 32])],
        [helper.make_tensor_value_info("boxes", dtype, None)],
        values,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), str(path))
    return path


def spec_of(*shapes: str) -> ModelSpec:
    inputs = (InputSpec("images", tuple(parse_shape(shape) for shape in shapes)),)
    return ModelSpec(inputs, (OutputSpec("boxes", groups=(OutputGroup("boxes", "pixels"),)),))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Build on a stand-in; gives what came out and the calls made."""
    monkeypatch.setattr(builder, "describe_device", lambda index: DEVICE)

    def build(trt: SimpleNamespace, options: BuildOptions | None = None, **job: Any) -> tuple[Built, list[Any]]:
        trt.answers |= {
            ("INetworkDefinition", "num_inputs"): 1,
            ("INetworkDefinition", "num_layers"): 1,
            ("ITensor", "name"): "images",
            ("ITensor", "shape"): trt.answers.get(("ITensor", "shape"), (-1, 3, 32, 32)),
            ("ITensor", "is_shape_tensor"): False,
            ("ITensor", "dtype"): trt.DataType.FLOAT,
            ("ILayer", "metadata"): trt.answers.get(("ILayer", "metadata"), "[ONNX Layer: /head/mul]"),
            ("ILayer", "type"): trt.answers.get(("ILayer", "type"), trt.LayerType.ELEMENTWISE),
            ("ILayer", "num_outputs"): 1,
            ("Builder", "build_serialized_network"): trt.answers.get(("Builder", "build_serialized_network"), b"plan"),
            ("EngineInspector", "get_engine_information"): LAYERS,
            ("ITimingCache", "serialize"): b"timings",
        }
        path = job.pop("onnx", None) or write_model(tmp_path / "model.onnx")
        wanted = BuildMessage(
            onnx=str(path),
            plan=str(tmp_path / "model.plan"),
            spec=job.pop("spec", spec_of("1..8@4x3x32x32")),
            options=options or BuildOptions(),
            **job,
        )
        stages: list[str] = []
        built = build_plan(
            TensorRT(trt, trt.__version__, "full"),
            wanted,
            log=lambda severity, message: trt.calls.append((None, "log", (severity, message))),
            stage=stages.append,
            progress=lambda at: None,
        )
        assert stages == ["parse", "build", "inspect"]
        return built, trt.calls

    return build


def test_dynamic_layers_are_inspected_with_their_shapes(run: Any, stand_in: Any) -> None:
    """8.6 reports their formats only after ``infer_shapes``."""
    _, calls = run(stand_in)
    names = [name for owner, name, _ in calls if owner in {"IExecutionContext", "EngineInspector"}]
    assert names == ["set_input_shape", "infer_shapes", "execution_context", "get_engine_information"]


def flags(calls: list[Any]) -> set[str]:
    return {arguments[0].name for owner, name, arguments in calls if (owner, name) == ("IBuilderConfig", "set_flag")}


def arguments_of(calls: list[Any], name: str) -> list[Any]:
    return [arguments for _, called, arguments in calls if called == name]


def test_a_plain_build(stand_in: Any, run: Any, tmp_path: Path) -> None:
    built, calls = run(stand_in)
    assert (tmp_path / "model.plan").read_bytes() == b"plan"
    assert (built.gpu, built.capability, built.profiles) == ("NVIDIA Test", "9.0", 1)
    assert arguments_of(calls, "set_shape") == [("images", (1, 3, 32, 32), (4, 3, 32, 32), (8, 3, 32, 32))]
    assert arguments_of(calls, "set_memory_pool_limit") == [(stand_in.MemoryPoolType.WORKSPACE, DEVICE.free)]
    assert flags(calls) == set()
    assert [arguments[0].name for arguments in arguments_of(calls, "clear_flag")] == ["TF32"]
    assert arguments_of(calls, "profiling_verbosity") == [(stand_in.ProfilingVerbosity.DETAILED,)]


def test_every_option_that_all_generations_have(stand_in: Any, run: Any, tmp_path: Path) -> None:
    options = BuildOptions(
        workspace=1 << 20,
        optimization_level=1,
        tf32=True,
        version_compatible=True,
        hardware_compatible="ampere+",
        refittable=True,
        tactic_sources=("edge_mask_convolutions",),
    )
    _, calls = run(stand_in, options, timing_cache=str(tmp_path / "timing"))
    assert flags(calls) == {"TF32", "VERSION_COMPATIBLE", "REFIT"}
    assert arguments_of(calls, "builder_optimization_level") == [(1,)]
    assert arguments_of(calls, "set_memory_pool_limit") == [(stand_in.MemoryPoolType.WORKSPACE, 1 << 20)]
    assert arguments_of(calls, "set_tactic_sources") == [(1 << int(stand_in.TacticSource.EDGE_MASK_CONVOLUTIONS),)]
    assert arguments_of(calls, "engine_host_code_allowed") == [(True,)]
    (cache,) = (tmp_path / "timing").glob(f"{stand_in.__version__}-sm_90-NVIDIA_Test-*.cache")
    assert cache.read_bytes() == b"timings"


def test_network_flags(stand_in_of: Any, run: Any) -> None:
    for version, flag in (("8.6.0", "EXPLICIT_BATCH"), ("10.16.1", "STRONGLY_TYPED"), ("11.4.0", None)):
        trt = stand_in_of(version)
        _, calls = run(trt)
        wanted = 1 << int(trt.NetworkDefinitionCreationFlag[flag]) if flag else 0
        assert arguments_of(calls, "create_network") == [(wanted,)]


def test_profile_sharing_needs_a_preview_feature_on_8(stand_in_of: Any, run: Any) -> None:
    old, new = stand_in_of("8.6.0"), stand_in_of("10.16.1")
    assert arguments_of(run(old)[1], "set_preview_feature") == [(old.PreviewFeature.PROFILE_SHARING_0806, True)]
    assert arguments_of(run(new)[1], "set_preview_feature") == []


def test_progress_is_asked_for_where_it_is_known(stand_in: Any, run: Any) -> None:
    _, calls = run(stand_in)
    assert bool(arguments_of(calls, "progress_monitor")) == (stand_in.__version__ != "8.6.0")


@pytest.mark.parametrize(("precision", "wanted"), [("fp16", {"FP16"}), ("int8", {"INT8", "FP16"})])
def test_8_takes_flags_and_keeps_decoding_in_float32(
    stand_in_of: Any, run: Any, tmp_path: Path, precision: str, wanted: set[str]
) -> None:
    trt = stand_in_of("8.6.0")
    path = write_model(tmp_path / "model.onnx", quantized=precision == "int8")
    built, calls = run(trt, onnx=path, precision=precision)
    assert flags(calls) == {*wanted, "TF32", "OBEY_PRECISION_CONSTRAINTS"}
    assert built.kept_layers == 1
    assert ("ILayer", "precision", (trt.DataType.FLOAT,)) in calls


class Builds:
    """``build_serialized_network`` of a stand-in: logs an error and gives no plan, as often as there are errors."""

    def __init__(self, trt: SimpleNamespace, *errors: str) -> None:
        self.errors = list(errors)
        self.logger: Any = None
        trt.answers["Builder", "build_serialized_network"] = self
        made, severity = trt.Builder.__init__, trt.ILogger.Severity.ERROR

        def make(this: Any, logger: Any) -> None:
            self.logger = logger
            made(this, logger)

        trt.Builder.__init__ = make
        self.fail = lambda text: self.logger.log(severity, text)

    def __call__(self, network: Any, config: Any) -> bytes | None:
        if not self.errors:
            return b"plan"
        self.fail(self.errors.pop(0))
        return None


NO_CANDIDATES = "2: Assertion failed: the node being incorrectly marked as an int8 node."


NO_IMPLEMENTATION = "10: Could not find any implementation for node {ForeignNode[/head/mul.../head/add]}."


@pytest.mark.parametrize(("precision", "error"), [("int8", NO_CANDIDATES), ("fp16", NO_IMPLEMENTATION)])
def test_constraints_are_preferences_where_8_builds_nothing_with_them(
    stand_in_of: Any, run: Any, tmp_path: Path, precision: str, error: str
) -> None:
    trt = stand_in_of("8.6.0")
    Builds(trt, error)
    path = write_model(tmp_path / "model.onnx", quantized=precision == "int8")
    built, calls = run(trt, onnx=path, precision=precision)
    assert built.kept_layers == 1
    assert built.preferred == ("/head/mul", "/head/add")
    assert flags(calls) >= {"OBEY_PRECISION_CONSTRAINTS", "PREFER_PRECISION_CONSTRAINTS"}
    assert "OBEY_PRECISION_CONSTRAINTS" in {arguments[0].name for arguments in arguments_of(calls, "clear_flag")}
    assert len(arguments_of(calls, "build_serialized_network")) == 2
    assert len(arguments_of(calls, "reset_output_type")) == (precision == "fp16")
    (warning,) = (text for severity, text in arguments_of(calls, "log") if severity == "warning")
    assert "nodes to keep in float32 are preferences" in warning


@pytest.mark.parametrize("kind", ["SHUFFLE", "CONCATENATION", "PLUGIN_V2", "LOOP_OUTPUT"])
def test_8_constrains_only_layers_that_compute(stand_in_of: Any, run: Any, kind: str) -> None:
    """Seen with 8.6: it builds no RoiAlign with a constraint, and no fused part with a constrained Unsqueeze."""
    trt = stand_in_of("8.6.0")
    trt.answers["ILayer", "type"] = trt.LayerType[kind]
    built, calls = run(trt, precision="fp16")
    assert built.kept_layers == 0
    assert "precision" not in {name for owner, name, _ in calls if owner == "ILayer"}


def test_obeyed_constraints_are_no_preferences(stand_in_of: Any, run: Any) -> None:
    built, calls = run(stand_in_of("8.6.0"), precision="fp16")
    assert built.preferred == ()
    assert "PREFER_PRECISION_CONSTRAINTS" not in flags(calls)


@pytest.mark.parametrize("errors", [[NO_CANDIDATES] * 2, ["2: out of memory"]])
def test_other_failures_are_not_tried_again(stand_in_of: Any, run: Any, tmp_path: Path, errors: list[str]) -> None:
    trt = stand_in_of("8.6.0")
    Builds(trt, *errors)
    path = write_model(tmp_path / "model.onnx", quantized=True)
    with pytest.raises(BuildError, match="could not build the engine"):
        run(trt, onnx=path, precision="int8")
    assert len(arguments_of(trt.calls, "build_serialized_network")) == len(errors)


def test_at_level_0_there_is_no_timing_cache(stand_in: Any, run: Any, tmp_path: Path) -> None:
    """TensorRT ignores it there, and 8.6 writes one that it cannot read."""
    _, calls = run(stand_in, BuildOptions(optimization_level=0), timing_cache=str(tmp_path / "timing"))
    assert arguments_of(calls, "set_timing_cache") == []
    assert not (tmp_path / "timing").exists()


def test_an_unreadable_timing_cache_is_reported_and_not_attached(stand_in: Any, run: Any, tmp_path: Path) -> None:
    folder = str(tmp_path / "timing")
    run(stand_in, timing_cache=folder)
    (cache,) = (tmp_path / "timing").glob("*.cache")
    cache.write_bytes(b"broken")
    builds, unreadable = Builds(stand_in), object()

    def create(data: bytes) -> Any:
        if data == b"broken":
            builds.fail("4: The timing cache will not be used!")
            return unreadable
        return stand_in.ITimingCache.__new__(stand_in.ITimingCache)

    stand_in.answers["IBuilderConfig", "create_timing_cache"] = create
    before = len(stand_in.calls)
    _, calls = run(stand_in, timing_cache=folder)
    calls = calls[before:]
    assert [arguments[0] is unreadable for arguments in arguments_of(calls, "set_timing_cache")] == [False]
    (warning,) = (text for _, text in arguments_of(calls, "log"))
    assert f"cannot use the timing cache {cache.name}" in warning
    assert cache.read_bytes() == b"timings"


def test_8_keeps_what_is_named(stand_in_of: Any, run: Any) -> None:
    for patterns, precision, kept in ((["^/conv$"], "fp16", 1), ([], "fp16", 0), (["^/conv$"], "fp32", 0)):
        trt = stand_in_of("8.6.0")
        trt.answers["ILayer", "metadata"] = "[ONNX Layer: /conv]"
        built, calls = run(trt, precision=precision, keep_fp32=patterns)
        assert built.kept_layers == kept
        lost = [text for _, text in arguments_of(calls, "log") if "to keep in float32" in text]
        assert len(lost) == (precision == "fp16" and not kept)  # decoding is there, and this network has it not


@pytest.mark.parametrize("version", ["10.16.1", "11.4.0"])
def test_from_10_on_precision_is_in_the_graph(stand_in_of: Any, run: Any, tmp_path: Path, version: str) -> None:
    with pytest.raises(BuildError, match="has no float16 weights"):
        run(stand_in_of(version), precision="fp16")
    typed = write_model(tmp_path / "typed.onnx", np.float16)
    built, calls = run(stand_in_of(version), onnx=typed, precision="fp16")
    assert flags(calls) == {"TF32"}
    assert built.kept_layers == 0


@pytest.mark.parametrize("version", ["8.6.0", "10.16.1", "11.4.0"])
def test_int8_needs_quantized_graph(stand_in_of: Any, run: Any, version: str) -> None:
    with pytest.raises(BuildError, match="QuantizeLinear and DequantizeLinear"):
        run(stand_in_of(version), precision="int8")


def test_what_8_lacks_is_refused_by_name(stand_in_of: Any, run: Any) -> None:
    for options, precision, name in (
        (BuildOptions(strip_weights=True), "fp32", "--strip-weights"),
        (BuildOptions(hardware_compatible="same-cc"), "fp32", "--hardware-compatible same-cc"),
        (BuildOptions(), "bf16", "--precision bf16"),
    ):
        with pytest.raises(UsageError, match=name) as caught:
            run(stand_in_of("8.6.0"), options, precision=precision)
        assert "TensorRT 10" in caught.value.message
        assert caught.value.hint


@pytest.mark.parametrize("version", ["10.16.1", "11.4.0"])
def test_stripped_weights(stand_in_of: Any, run: Any, version: str) -> None:
    trt = stand_in_of(version)
    _, calls = run(trt, BuildOptions(strip_weights=True, hardware_compatible="same-cc"))
    assert flags(calls) == {"STRIP_PLAN", "REFIT_IDENTICAL"}
    _, calls = run(stand_in_of(version), BuildOptions(strip_weights=True, refittable=True))
    assert flags(calls) == {"STRIP_PLAN", "REFIT"}


def test_unknown_tactic_source(stand_in: Any, run: Any) -> None:
    with pytest.raises(UsageError, match="no tactic source 'FOO'") as caught:
        run(stand_in, BuildOptions(tactic_sources=("FOO",)))
    assert "JIT_CONVOLUTIONS" in str(caught.value.hint)


def test_several_profiles(stand_in: Any, run: Any) -> None:
    built, calls = run(stand_in, spec=spec_of("1..2x3x32x32", "8..16@8x3x32x32"))
    assert built.profiles == 2
    assert [arguments[1] for arguments in arguments_of(calls, "set_shape")] == [(1, 3, 32, 32), (8, 3, 32, 32)]


def test_a_static_network_needs_no_profile(stand_in: Any, run: Any) -> None:
    stand_in.answers["ITensor", "shape"] = (4, 3, 32, 32)
    _, calls = run(stand_in, spec=spec_of("4x3x32x32"))
    assert arguments_of(calls, "add_optimization_profile") == []


def test_a_static_network_with_a_dynamic_profile(stand_in: Any, run: Any) -> None:
    stand_in.answers["ITensor", "shape"] = (4, 3, 32, 32)
    with pytest.raises(ShapeError, match="axis 0 is fixed at 4 in the graph") as caught:
        run(stand_in)
    assert "images=4x3x32x32" in str(caught.value.hint)
    assert "--set-dynamic-batch" in str(caught.value.hint)


def test_no_plan_is_an_error(stand_in: Any, run: Any, tmp_path: Path) -> None:
    stand_in.answers["Builder", "build_serialized_network"] = lambda network, config: None
    with pytest.raises(BuildError, match="could not build"):
        run(stand_in)
    assert not (tmp_path / "model.plan").exists()


def test_parser_errors_name_the_node(stand_in: Any, run: Any) -> None:
    stand_in.answers |= {
        ("OnnxParser", "parse_from_file"): False,
        ("OnnxParser", "num_errors"): 1,
        ("ParserError", "node"): 1,
        ("ParserError", "desc"): "In node 1 (importMul): INVALID_NODE: no",
    }
    made = stand_in.ParserError
    stand_in.answers["OnnxParser", "get_error"] = lambda index: made.__new__(made)
    with pytest.raises(BuildError, match=r"node /head/mul \(Mul\).*INVALID_NODE"):
        run(stand_in)


def test_a_plugin_library_that_is_not_there(stand_in: Any, run: Any, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="Plugin library not found"):
        run(stand_in, BuildOptions(plugin_libs=(str(tmp_path / "my.so"),)))
    (tmp_path / "my.so").write_text("not a library")
    with pytest.raises(BuildError, match="cannot be loaded"):
        run(stand_in, BuildOptions(plugin_libs=(str(tmp_path / "my.so"),)))


def test_configure_is_called_before_the_build(stand_in: Any, run: Any) -> None:
    _, calls = run(stand_in, configure=f"{__name__}:set_aux_streams", configure_with="2")
    names = [name for _, name, _ in calls]
    assert names.index("max_aux_streams") < names.index("build_serialized_network")


def set_aux_streams(network: Any, config: Any, argument: str | None) -> None:
    config.max_aux_streams = int(argument or 0)
