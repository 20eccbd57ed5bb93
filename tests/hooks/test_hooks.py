"""Every hook: core's default is called by the pipeline, an extension replaces it once, its result is what is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import adaptrt
from adaptrt import Report, UsageError
from adaptrt.cli.plan import plan_of
from adaptrt.errors import BuildError, PluginError, VerificationError
from adaptrt.hookspecs import PROJECT
from adaptrt.pipeline.sessions import open_session

Convert = Callable[..., Report]
Install = Callable[..., str]


def test_hook_adapter_options(small_adapter: Install) -> None:
    size = {"imgsz": 32, "batch": 2, "verify": "none", "exporter": "torchscript"}
    with pytest.raises(UsageError, match="has an option 'gain'"):
        adaptrt.convert("net", adapter=small_adapter(), options={"gain": "3"}, **size)
    small_adapter(
        """
        from dataclasses import dataclass

        @dataclass(frozen=True)
        class Options:
            gain: float = 1.0

        @hookimpl
        def adapter_options():
            return Options

        @hookimpl
        def model_spec(ctx, model):
            if ctx.options != Options(gain=3.0):
                raise UsageError(f"the options are {ctx.options}")
        """,
        name="gain",
    )
    assert adaptrt.convert("net", adapter="gain", options={"gain": "3"}, **size).status == "passed"
    with pytest.raises(UsageError, match="has an option 'gian'") as caught:
        adaptrt.convert("net", adapter="gain", options={"gian": "3", "gain": "3"}, **size)
    assert caught.value.hint == "Did you mean 'gain'?"


def test_hook_load_model(small_adapter: Install) -> None:
    report = adaptrt.convert("net", adapter=small_adapter(), exporter="torchscript", imgsz=32, batch=2, verify="none")
    assert report.stages[0].name == "load"
    assert report.stages[0].note == "Conv2d"
    assert report.operators["final"] == {"Conv": 1}


def test_hook_model_spec(convert_with: Convert, small_adapter: Install) -> None:
    default = adaptrt.convert("net", adapter=small_adapter(), exporter="torchscript", dynamic="none", verify="none")
    assert default.spec is not None
    assert default.spec.inputs[0].dims[-1].opt == 640
    assert default.spec.decoder == adaptrt.DecoderSpec("raw")
    replaced = convert_with(
        """
        from dataclasses import replace

        @hookimpl(wrapper=True)
        def model_spec(ctx, model):
            calls.append("model_spec")
            spec = yield
            return replace(spec, labels=("rot", "gruen", "blau"))
        """
    )
    assert replaced.calls == ["model_spec"]  # type: ignore[attr-defined]
    assert replaced.spec is not None
    assert replaced.spec.labels == ("rot", "gruen", "blau")


def test_hook_example_inputs(convert_with: Convert) -> None:
    report = convert_with(
        """
        import torch

        @hookimpl
        def example_inputs(ctx, spec, shapes, seed):
            calls.append((seed, shapes["images"]))
            return {"images": torch.full(shapes["images"], 0.1 * (seed + 1))}

        @hookimpl(wrapper=True)
        def export_onnx(ctx, model, inputs, spec):
            calls.append(float(inputs["images"].max()))
            return (yield)
        """
    )
    samples, trace, value = report.calls[:2], report.calls[2], report.calls[3]  # type: ignore[attr-defined]
    assert samples == [(0, (1, 3, 64, 64)), (1, (1, 3, 64, 64))]
    assert trace == (0, (2, 3, 64, 64))
    assert value == pytest.approx(0.1)


def test_hook_patches(convert_with: Convert) -> None:
    report = convert_with(
        """
        @hookimpl
        def patches(model, spec):
            calls.append(type(model).__name__)
            return [FunctionPatch(target="torch.nn.modules.activation:SiLU.forward", requires="torch>=2",
                                  reason="two operators for one", replacement=lambda original, self, x: x * x.sigmoid())]
        """
    )
    assert report.calls == ["Detector"]  # type: ignore[attr-defined]
    record = report.patches[0]
    assert (record.plugin, record.kind, record.calls > 0) == ("ext", "FunctionPatch", True)
    assert [patch.plugin for patch in report.patches] == ["ext", "tiny", "tiny"]
    assert report.link(1).status == "passed"


def test_hook_export_onnx(convert_with: Convert) -> None:
    default = convert_with()
    assert default.exporter == "torchscript"
    assert adaptrt.convert("detector", adapter="tiny", verify="none", exporter="dynamo").exporter == "dynamo"


def test_hook_export_onnx_replaced(convert_with: Convert) -> None:
    report = convert_with(
        """
        @hookimpl
        def export_onnx(ctx, model, inputs, spec):
            import torch
            calls.append("export_onnx")
            path = ctx.workdir / "mine.onnx"
            torch.onnx.export(model, tuple(inputs.values()), str(path), input_names=list(inputs), dynamo=False,
                              output_names=["output0"], opset_version=16,
                              dynamic_axes={"images": {0: "batch"}, "output0": {0: "batch"}})
            return path
        """
    )
    assert report.calls == ["export_onnx"]  # type: ignore[attr-defined]
    assert report.opset == 16
    assert report.exporter == "ext (adaptrt-ext 1.0)"
    assert report.link(2).status == "passed"


def test_hook_graph_passes(convert_with: Convert) -> None:
    report = convert_with(
        """
        def mark(model):
            model.graph.doc_string = "marked"

        @hookimpl
        def graph_passes(ctx, spec):
            return [GraphPass(name="mark", order=95, reason="to see it run", run=mark)]
        """
    )
    names = [record.name for record in report.passes]
    assert [name for name in names if name in ("fold", "clean", "gather", "names")] == [
        "fold",
        "clean",
        "gather",
        "names",
    ]
    assert names[-1] == "mark"
    assert (report.passes[-1].plugin, report.passes[-1].reason) == ("ext", "to see it run")
    import onnx

    assert onnx.load(report.onnx).graph.doc_string == "marked"


QUANTIZES = """
import numpy as np
import onnx
from onnx import helper, numpy_helper

@hookimpl
def quantize(ctx, onnx_path, spec, precision):
    calls.append((onnx_path.name, precision.name, len(ctx.samples)))
    model = onnx.load(str(onnx_path))
    graph = model.graph
    for node in graph.node:
        node.input[:] = ["seen" if name == "images" else name for name in node.input]
    graph.initializer.extend([
        numpy_helper.from_array(np.float32(1 / 255), "scale"), numpy_helper.from_array(np.uint8(0), "zero")
    ])
    graph.node.insert(0, helper.make_node("DequantizeLinear", ["quantized", "scale", "zero"], ["seen"]))
    graph.node.insert(0, helper.make_node("QuantizeLinear", ["images", "scale", "zero"], ["quantized"]))
    path = ctx.workdir / "quantized.onnx"
    onnx.save(model, str(path))
    return path
"""


def test_int8_without_a_plugin_that_quantizes(convert_with: Convert) -> None:
    with pytest.raises(UsageError, match='precision="int8" needs images'):
        convert_with(precision="int8", target="10", verify="none")


def test_int8_with_a_plugin_that_does_not_answer(convert_with: Convert) -> None:
    silent = """
@hookimpl
def quantize(ctx, onnx_path, spec, precision):
    return None
"""
    with pytest.raises(BuildError, match='precision="int8" needs a graph with QuantizeLinear'):  # core's default
        convert_with(silent, precision="int8", target="10", verify="none")


def test_hook_quantize(convert_with: Convert) -> None:
    report = convert_with(QUANTIZES, precision="int8", target="10")
    assert report.calls == [("model.onnx", "int8", 2)]  # type: ignore[attr-defined]
    assert report.link(3).status == "passed"
    assert report.link(3).checks
    assert report.files["reduced"].path == "detector.int8.onnx"


def test_hook_reduce_precision(convert_with: Convert) -> None:
    report = convert_with(
        """
        @hookimpl
        def reduce_precision(ctx, onnx_path, spec, precision):
            assert onnx_path.is_file() and spec.outputs[0].dims
            calls.append((onnx_path.name, precision.name, precision.bits))
            return onnx_path
        """
    )
    assert report.calls == [("model.onnx", "fp32", 32)]  # type: ignore[attr-defined]
    assert report.link(3).status == "not run"


def test_hook_configure_builder(tiny: str, install_extension: Install) -> None:
    """Called in the build process; here as the build calls it, since TensorRT is not everywhere."""
    for name in ("first", "second"):
        install_extension(
            name,
            f"""
            @hookimpl
            def configure_builder(network, config):
                config.append("{name}")
            """,
        )
    session, _ = open_session(None)
    config: list[str] = []
    session.hooks.configure_builder(None, object(), config)  # type: ignore[arg-type]
    assert sorted(config) == ["first", "second"]


def test_hook_build_engine(convert_with: Convert) -> None:
    report = convert_with(
        """
        @hookimpl
        def build_engine(ctx, onnx_path, spec, precision, backend):
            calls.append((onnx_path.is_file(), precision.name, backend.name))
            path = ctx.workdir / "made.engine"
            path.write_bytes(b"plan")
            return path
        """
    )
    assert report.calls == [(True, "fp32", "tensorrt")]  # type: ignore[attr-defined]
    assert Path(report.files["engine"].path).read_bytes() == b"plan"
    assert report.link(4).status == "not run"


def test_hook_preprocess(convert_with: Convert, image: Path) -> None:
    with pytest.raises(VerificationError, match="Link 0") as caught:
        convert_with(
            """
            @hookimpl(wrapper=True)
            def preprocess(image, spec):
                arrays, meta = yield
                return {name: array[:, ::-1].copy() for name, array in arrays.items()}, meta
            """,
            image=image,
        )
    assert "channel order" in (caught.value.hint or "")


def test_hook_postprocess(convert_with: Convert, image: Path) -> None:
    report = convert_with(
        """
        import numpy as np

        @hookimpl
        def postprocess(outputs, metas, spec):
            calls.append(list(outputs))
            return [Detections(np.array([[0, 0, 9, 9]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int64),
                               spec.labels) for _ in metas]

        @hookimpl
        def framework_predictions(ctx, image):
            return Detections(np.array([[0, 0, 9, 9]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int64))
        """,
        image=image,
    )
    assert report.calls == [["output0"]] * 3  # type: ignore[attr-defined]
    assert report.images[0].predictions["onnxruntime"].data["boxes"] == [[0, 0, 9, 9]]


def test_hook_framework_predictions(convert_with: Convert, image: Path, small_adapter: Install) -> None:
    report = convert_with(
        """
        @hookimpl(wrapper=True)
        def framework_predictions(ctx, image, spec):
            calls.append((image.name, spec.decoder.params.get("conf")))
            return (yield)
        """,
        image=image,
        options={"conf": "0.6"},
    )
    assert report.calls == [("image.png", 0.6)]  # type: ignore[attr-defined]
    assert report.link(0).status == "passed"
    assert report.images[0].predictions["framework"].data["scores"]
    without = adaptrt.convert("net", adapter=small_adapter(), exporter="torchscript", imgsz=32, batch=1, image=image)
    assert without.link(0).status == "not run"
    assert without.link(0).reason == "not available: adapter small has no framework predictions"


def test_hook_metrics(convert_with: Convert, image: Path) -> None:
    report = convert_with(
        """
        @hookimpl
        def metrics(ctx, spec, precision):
            calls.append((precision.name, ctx.request.precision))
            return [Metric(name="same count", task="any", reason="nothing gets lost", minimum=1.0,
                           compute=lambda a, b: float([len(x) for x in a] == [len(x) for x in b]))]
        """,
        image=image,
    )
    assert report.calls == [("fp32", "fp32")] * 2  # type: ignore[attr-defined]
    for link in (0, 5):
        names = [check.name for check in report.link(link).checks]
        assert names == ["same count", "matched boxes (IoU 0.99, score within 0.001)"]


def test_hook_conversion_finished(convert_with: Convert) -> None:
    report = convert_with(
        """
        @hookimpl
        def conversion_finished(ctx, report):
            calls.append((report.status, report.onnx.is_file(), ctx.workdir.is_dir()))
        """
    )
    assert report.calls == [("passed", True, True)]  # type: ignore[attr-defined]


def test_every_hook_has_its_test() -> None:
    from adaptrt import hookspecs

    hooks = {name for name, value in vars(hookspecs).items() if hasattr(value, f"{PROJECT}_spec")}
    assert hooks == {name.removeprefix("test_hook_") for name in globals() if name.startswith("test_hook_")} - {
        "export_onnx_replaced"
    }


def test_a_plugin_that_answers_nothing_leaves_it_to_core(convert_with: Convert) -> None:
    report = convert_with(
        """
        @hookimpl
        def model_spec(ctx, model): calls.append("model_spec")
        @hookimpl
        def export_onnx(): calls.append("export_onnx")
        @hookimpl
        def graph_passes(): calls.append("graph_passes")
        """
    )
    assert report.calls == ["model_spec", "export_onnx", "graph_passes"]  # type: ignore[attr-defined]
    assert report.status == "passed"


def test_results_are_those_of_the_net(convert_with: Convert, image: Path) -> None:
    report = convert_with("", image=image)
    with adaptrt.load(report.onnx) as model:  # type: ignore[arg-type]
        (found,) = model(image)
    assert isinstance(found, adaptrt.Detections)
    np.testing.assert_allclose(found.scores, report.images[0].predictions["eager"].data["scores"], atol=1e-4)
    assert {found.name(index) for index in range(len(found))} == {"red", "blue"}


def test_an_extension_cannot_load_models(convert_with: Convert) -> None:
    report = convert_with(
        """
        @hookimpl
        def load_model(ctx): raise AssertionError
        """
    )
    assert report.warnings == [
        "Skipping extension ext: ext (adaptrt-ext 1.0): load_model is called on the adapter only. "
        "Remove it, or register the plugin as an adapter."
    ]


def test_an_adapter_needs_load_model(tiny: str, fake_distribution: Callable[..., Path]) -> None:
    fake_distribution("adaptrt-empty", {"adaptrt.adapters": {"empty": "adapter_empty"}}, modules={"adapter_empty": ""})
    with pytest.raises(PluginError, match=r"empty \(adaptrt-empty 1.0\) has no load_model hook") as caught:
        adaptrt.convert("net", adapter="empty")
    assert "@adaptrt.hookimpl" in (caught.value.hint or "")


def test_a_conversion_fails_if_an_extension_has_a_renamed_hook(tiny: str, install_extension: Install) -> None:
    install_extension("old", "@hookimpl\ndef typed_onnx(ctx, onnx_path, spec):\n    return onnx_path\n")
    message = r"old \(adaptrt-old 1\.0\): the hook typed_onnx is now called reduce_precision"
    with pytest.raises(PluginError, match=message):
        adaptrt.convert("detector", adapter=tiny, verify="none")
    with pytest.raises(PluginError, match=message):
        plan_of(adaptrt.Request("detector", tiny))
    session, _ = open_session(tiny)  # commands that convert nothing go on, and list it
    assert [one.name for one in session.skipped] == ["old"]
    Path("plugins.toml").write_text("[plugins]\ndisable = ['old']\n", encoding="utf-8")
    assert adaptrt.convert("detector", adapter=tiny, verify="none").status == "passed"


def test_old_names_say_the_new_ones(tiny: str) -> None:
    with pytest.raises(PluginError, match=r"ctx\.typed_graph is now called ctx\.reduced_graph"):
        _ = adaptrt.Conversion(adaptrt.Request("detector", tiny), None, Path()).typed_graph  # type: ignore[attr-defined]
    with pytest.raises(PluginError, match="now called rank_sensitive"):
        adaptrt.OutputGroup("boxes", "pixels", jumps=True)  # type: ignore[call-arg]
