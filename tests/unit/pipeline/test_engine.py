"""Links 3 and 4 and what is published with an engine. What runs here as an engine is ONNX Runtime: it tests the pipeline,
and says nothing about TensorRT."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import adaptrt
import adaptrt.pipeline.convert
from adaptrt import Report, VerificationError
from adaptrt.backends.tensorrt.build.log import LogNote
from adaptrt.backends.tensorrt.build.precision_report import PrecisionReport
from adaptrt.backends.tensorrt.manifest import Manifest, check_plan, manifest_path
from adaptrt.errors import BuildError, DependencyError, EngineError, PluginError
from adaptrt.onnxfile.hashing import onnx_sha256
from adaptrt.pipeline.artifacts import Artifact, Runners, open_artifact, why_float32
from adaptrt.pipeline.configure import configure_builder
from adaptrt.pipeline.observer import Observer
from adaptrt.request import Conversion, Request
from adaptrt.specs import BuildOptions, precision_named
from adaptrt.specs.backends import BACKENDS, BackendRequest
from adaptrt.specs.precisions import FP32
from adaptrt.store.hashing import file_sha256

Install = Callable[..., str]

BUILDS = """
from pathlib import Path

@hookimpl
def build_engine(ctx, onnx_path, spec):
    from adaptrt.backends.tensorrt.manifest import Manifest, manifest_path
    from adaptrt.store.hashing import file_sha256
    from adaptrt.backends.tensorrt.build.precision_report import PrecisionReport
    plan = ctx.workdir / "model.engine"
    plan.write_bytes(onnx_path.read_bytes())
    manifest = Manifest(
        file_sha256(plan), plan.stat().st_size, onnx_path.name, file_sha256(onnx_path), "8.6.0", "12.9", None, "GPU",
        "9.0", ctx.request.precision, spec, PrecisionReport(ctx.request.precision, {"fp16": 3}, evidence="it is said"),
    )
    manifest_path(plan).write_text(manifest.to_json())
    return plan
"""


class PretendEngine:
    """An ONNX file under an engine's name; ``change`` is done to its outputs."""

    backend = "pretend"

    def __init__(self, path: Path, change: Callable[[str, Any, Mapping[str, Any]], Any]) -> None:
        from adaptrt.backends.onnxruntime.runner import OnnxRuntimeRunner

        self.closed = False
        self._runner, self._change = OnnxRuntimeRunner(path), change

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._change(name, array, inputs) for name, array in self._runner.run(inputs).items()}

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def convert_engine(tiny: str, install_extension: Install, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Report]:
    """A conversion with a simulated engine; ``change(name, array, inputs)`` makes it wrong."""
    install_extension("builds", BUILDS)
    opened: list[PretendEngine] = []

    def convert(change: Any = lambda name, array, inputs: array, **options: Any) -> Report:
        def open_it(artifact: Artifact, request: Request) -> Any:
            if artifact.path.suffix != ".engine":
                return open_artifact(artifact, request)
            opened.append(PretendEngine(artifact.path, change))
            return opened[-1]

        monkeypatch.setattr("adaptrt.pipeline.artifacts.open_artifact", open_it)
        try:
            return adaptrt.convert("detector", adapter="tiny", **{"verify": "quick", **options})
        finally:
            assert all(engine.closed for engine in opened)

    return convert


def test_an_engine_that_agrees(convert_engine: Callable[..., Report], image: Path) -> None:
    report = convert_engine(image=image)
    assert [report.link(number).status for number in (4, 5)] == ["passed", "passed"]
    assert {check.title for check in report.link(4).checks} == {
        "output0: boxes",
        "output0: scores",
        "output0: boxes in a batch",
        "output0: scores in a batch",
    }
    assert set(report.images[0].predictions) >= {"eager", "pretend"}  # link 5 looks at the result
    (built,) = report.artifacts
    assert (built.facts["TensorRT"], built.layers, built.facts["evidence"]) == ("8.6.0", {"fp16": 3}, "it is said")
    assert built.record["tensorrt"] == "8.6.0"
    assert [stage.name for stage in report.stages if stage.name in ("types", "build", "link 4")] == [
        "types",
        "build",
        "link 4",
    ]


def test_the_manifest_is_completed(convert_engine: Callable[..., Report]) -> None:
    report = convert_engine(output="out/shop.engine")
    plan = Path("out/shop.engine")
    manifest = Manifest.from_json(manifest_path(plan).read_text())
    check_plan(manifest, plan)
    assert report.files["engine.json"].path == "out/shop.engine.json"
    assert (manifest.onnx, manifest.onnx_sha256) == ("shop.onnx", onnx_sha256(Path("out/shop.onnx")))
    assert manifest.rebuild.startswith("adaptrt build shop.onnx --shape images=1..4@2x3x64x64")
    assert (manifest.adapter, manifest.source) == ("tiny", "detector")
    assert [patch.plugin for patch in manifest.patches] == ["tiny", "tiny"]
    assert [record.name for record in manifest.passes] == [record.name for record in report.passes]
    assert [link.status for link in manifest.checks] == [link.status for link in report.links]
    assert manifest.plugins["tiny"] == "adaptrt-tiny 0.3"


def test_an_engine_that_computes_something_else(convert_engine: Callable[..., Report]) -> None:
    with pytest.raises(VerificationError, match="Link 4 .*boxes"):
        convert_engine(lambda name, array, inputs: array + 1)
    assert not list(Path().glob("detector.*engine*"))
    assert not Path("detector.onnx").exists()


def test_an_engine_that_mixes_up_its_batch(convert_engine: Callable[..., Report]) -> None:
    with pytest.raises(VerificationError, match="Link 4 .*in a batch"):
        convert_engine(lambda name, array, inputs: array[::-1] if len(array) > 1 else array)


def test_an_engine_that_does_not_run(convert_engine: Callable[..., Report]) -> None:
    def fail(name: str, array: Any, inputs: Any) -> Any:
        raise EngineError("CUDA: cudaErrorIllegalAddress.")

    with pytest.raises(VerificationError, match="Link 4 .*fails: CUDA: cudaErrorIllegalAddress"):
        convert_engine(fail)


def test_an_engine_is_not_run_without_verification(convert_engine: Callable[..., Report]) -> None:
    report = convert_engine(verify="none")
    assert (report.link(4).status, report.link(4).reason) == ("not run", "--verify none")
    assert Path("detector.engine.json").is_file()


def test_half_precision_without_tensorrt(tiny: str, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adaptrt.backends.tensorrt.availability.can_build", lambda *_: False)
    report = adaptrt.convert("detector", adapter="tiny", precision="fp16", verify="quick", target="10", image=image)
    assert report.link(3).status == "passed"
    names = {check.title for check in report.link(3).checks}
    assert {"output0: boxes", "output0: boxes (the file in ONNX Runtime)"} <= names
    assert (report.link(4).status, report.link(4).reason) == (
        "not run",
        "no .engine file was built: TensorRT is not installed",
    )
    assert Path("detector.onnx").is_file()
    assert Path("detector.fp16.onnx").is_file()
    assert not Path("detector.engine").exists()
    assert any("nodes in half" in note for note in report.notes)
    assert [check.name for check in report.link(5).checks] == ["matched boxes (IoU 0.9, score within 0.03)"]
    assert "half-pixels" not in {finding.rule for finding in report.findings}


def test_boxes_that_somebody_computes_in_half_are_a_finding(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adaptrt.graph.casts.decoding_nodes", lambda *_: [])
    report = adaptrt.convert("detector", adapter="tiny", precision="fp16", verify="none", target="10")
    found = [finding for finding in report.findings if finding.rule == "half-pixels"]
    assert {(finding.rule, finding.severity) for finding in found} == {("half-pixels", "error")}


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_predictions_are_those_of_the_reduced_graph(
    tiny: str, image: Path, monkeypatch: pytest.MonkeyPatch, precision: Any
) -> None:
    from adaptrt.backends.onnxruntime.runner import OnnxRuntimeRunner

    seen: list[str] = []
    opened, run = OnnxRuntimeRunner.__init__, OnnxRuntimeRunner.run

    def remember(self: Any, path: Path, **options: Any) -> None:
        opened(self, path, **options)
        self.name = path.name

    def note(self: Any, inputs: Any) -> Any:
        seen.append(self.name)
        return run(self, inputs)

    monkeypatch.setattr("adaptrt.backends.tensorrt.availability.can_build", lambda *_: False)
    monkeypatch.setattr(OnnxRuntimeRunner, "__init__", remember)
    monkeypatch.setattr(OnnxRuntimeRunner, "run", note)
    adaptrt.convert("detector", adapter="tiny", precision=precision, verify="quick", target="10", image=image)
    assert seen[-1] == ("model.fp16.onnx" if precision == "fp16" else "model.bf16.rounded.onnx")


def test_float32_is_compared_strictly_whatever_the_engine_is_to_be(
    tiny: str, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorRT 8 takes half precision as a flag: without an engine nothing was rounded."""
    monkeypatch.setattr("adaptrt.backends.tensorrt.availability.can_build", lambda *_: False)
    report = adaptrt.convert("detector", adapter="tiny", precision="fp16", verify="quick", target="8", image=image)
    for link in (0, 5):
        assert [check.name for check in report.link(link).checks] == ["matched boxes (IoU 0.99, score within 0.001)"]


def test_a_reduced_precision_graph_that_is_wrong_fails_link_3(tiny: str, install_extension: Install) -> None:
    install_extension(
        "spoils",
        """
        @hookimpl
        def reduce_precision(ctx, onnx_path, spec):
            import onnx
            model = onnx.load(str(onnx_path))
            for weight in model.graph.initializer:
                if len(weight.dims) == 4:
                    array = onnx.numpy_helper.to_array(weight)
                    weight.CopyFrom(onnx.numpy_helper.from_array(array * 1.5, weight.name))
            path = ctx.workdir / "spoiled.onnx"
            onnx.save(model, str(path))
            return path
        """,
    )
    with pytest.raises(VerificationError, match="Link 3") as caught:
        adaptrt.convert("detector", adapter="tiny", precision="fp16", verify="quick", target="10")
    assert "(keep_fp32)" in str(caught.value.hint)


def test_a_reduced_precision_graph_without_the_spec_names_who_lost_it(tiny: str, install_extension: Install) -> None:
    install_extension(
        "forgets",
        """
        @hookimpl
        def reduce_precision(ctx, onnx_path, spec):
            import onnx
            model = onnx.load(str(onnx_path))
            del model.metadata_props[:]
            path = ctx.workdir / "bare.onnx"
            onnx.save(model, str(path))
            return path
        """,
    )
    with pytest.raises(PluginError, match="forgets .* without the file's metadata from reduce_precision"):
        adaptrt.convert("detector", adapter="tiny", precision="fp16", verify="none", target="10")


def test_why_there_is_no_reduced_graph() -> None:
    def why(target: str | None, precision: str) -> str:
        return why_float32(Request("a", "b", precision=precision, target=target), precision_named(precision))

    assert why(None, "fp32") == "the graph stays float32"
    assert why("10", "fp16") == "the graph is already in fp16"
    assert "builder flag" in why("8", "fp16")
    assert "Q/DQ" in why("10", "int8")


def test_stripped_and_unrunnable_engines_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Artifact(name="x.engine", path=tmp_path / "x.engine", precision=FP32, backend=BACKENDS.find("tensorrt"))
    stripped = Request("a", "b", build=BuildOptions(strip_weights=True))
    assert Runners().problem(engine, stripped) == "the plan contains no weights (--strip-weights)"

    def missing(*_: Any, **__: Any) -> None:
        raise DependencyError("TensorRT is not installed.")

    monkeypatch.setattr("adaptrt.backends.tensorrt.runtime.TensorRTRunner", missing)
    assert Runners().problem(engine, Request("a", "b")) == "it cannot run on this machine: TensorRT is not installed."


def test_configure_builder_in_the_build_process(tiny: str, install_extension: Install, tmp_path: Path) -> None:
    install_extension(
        "tunes",
        """
        @hookimpl
        def configure_builder(ctx, network, config):
            config.append((ctx.request.source, network))
        """,
    )
    context = tmp_path / "context"
    context.write_bytes(pickle.dumps(Conversion(Request("detector", "tiny"), None, tmp_path)))
    config: list[Any] = []
    configure_builder("network", config, str(context))
    assert config == [("detector", "network")]


def test_the_default_build_hands_everything_over(
    tiny: str, install_extension: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Core's own hook: what it asks the backend for, what it makes of the answer, and that extensions configure."""
    install_extension("tunes", "@hookimpl\ndef configure_builder(ctx, network, config):\n    pass\n")
    asked: list[BackendRequest] = []

    def build(request: BackendRequest, *, watcher: Any) -> tuple[Manifest, bool]:
        asked.append(request)
        plan, spec = request.output, request.spec
        watcher.progress(None, 12.0, None, "")
        watcher.progress(0.25, 30.0, 90.0, "tactics")
        assert watcher.log_level == "info"
        watcher.message("info", "[MemUsageChange] Init CUDA")
        watcher.note(LogNote("int64 weights", 1, "raw", "The graph contains int64 values."))
        plan.write_bytes(b"plan")
        precision_report = PrecisionReport(
            "fp16", {"fp16": 2}, evidence="2 of 2 visible layers compute in fp16", note="a note"
        )
        made = Manifest(
            file_sha256(plan), 4, "a", "0", "8.6.0", "12.9", None, "GPU", "9.0", "fp16", spec, precision_report
        )
        manifest_path(plan).write_text(made.to_json())
        return made, False

    monkeypatch.setattr("adaptrt.backends.tensorrt.engine_backend.engine_unavailable_reason", lambda *_: None)
    monkeypatch.setattr("adaptrt.backends.tensorrt.build.engine.build_engine", build)
    seen: list[Any] = []

    class Seeing(Observer):
        def stage_progress(self, done: int, total: int, text: str = "") -> None:
            seen.append((done, total, text))

        def detail(self, text: str) -> None:
            seen.append(text)

    options = BuildOptions(optimization_level=2, timeout=60)
    request = Request(
        "detector",
        "tiny",
        precision="fp16",
        target="8",
        keep_fp32=("Sigmoid",),
        build=options,
        verify="none",
        verbose=1,
    )
    report = adaptrt.pipeline.convert.convert(request, Seeing())
    (given,) = asked
    assert (given.precision.name, given.keep_fp32, given.options) == ("fp16", ("Sigmoid",), options)
    assert given.configure is not None
    assert given.configure[0] == "adaptrt.pipeline.configure:configure_builder"
    assert (0, 0, "12 s so far") in seen
    assert "TensorRT info: [MemUsageChange] Init CUDA" in seen
    assert (250, 1000, "about 90 s left") in seen
    assert "TensorRT, int64 weights: The graph contains int64 values." in report.warnings
    assert "Precision: a note." in report.warnings
    assert any("2 of 2 visible layers compute in fp16" in note for note in report.notes)
    assert [stage.note for stage in report.stages if stage.name == "build"] == [
        "2 layers fp16, plan 0.00 of the float32 weights"
    ]


def test_a_build_that_fails_leaves_nothing(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*_: Any, **__: Any) -> None:
        raise BuildError("TensorRT crashed (SIGSEGV).", hint="Try another --opset.")

    monkeypatch.setattr("adaptrt.backends.tensorrt.engine_backend.engine_unavailable_reason", lambda *_: None)
    monkeypatch.setattr("adaptrt.backends.tensorrt.build.engine.build_engine", build)
    with pytest.raises(BuildError, match="SIGSEGV") as caught:
        adaptrt.convert("detector", adapter="tiny", verify="none")
    assert caught.value.report is not None
    assert caught.value.report.failure is not None
    assert caught.value.report.failure.stage == "build"
    assert not Path("detector.onnx").exists()
