"""The order of hooks in a whole conversion, and of plugins within a hook."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import adaptrt
from adaptrt import Conversion, InputSpec, ModelSpec, PluginError, Report, Request, hookspecs
from adaptrt.pipeline.observer import Observer
from adaptrt.pipeline.sessions import listen_to_hooks, open_session
from adaptrt.plugins.recorder import HookCall
from adaptrt.specs.precisions import FP32

Convert = Callable[..., Report]
Install = Callable[..., str]

# an extension that stands before every hook but the adapter's own two, and writes down that it was asked
WATCHER = "\n".join(
    f"@hookimpl(wrapper=True)\ndef {name}():\n    calls.append({name!r})\n    return (yield)\n"
    for name, value in vars(hookspecs).items()
    if hasattr(value, "adaptrt_spec") and name not in ("adapter_options", "load_model")
)

FULL = [
    "model_spec",
    *["example_inputs"] * 4,  # the samples of the reference run
    "framework_predictions",
    "preprocess",  # link 0: eager
    "postprocess",
    "metrics",
    "patches",
    "example_inputs",  # the trace
    "export_onnx",
    "graph_passes",
    "reduce_precision",
    "build_engine",
    "preprocess",  # link 5: eager, then ONNX Runtime
    "postprocess",
    "preprocess",
    "postprocess",
    "metrics",
    "conversion_finished",
]


def test_the_order_of_a_whole_conversion(convert_with: Convert, image: Path) -> None:
    report = convert_with(WATCHER, verify="full", image=image)
    assert report.calls == FULL  # type: ignore[attr-defined]
    assert [stage.name for stage in report.stages] == [
        *("load", "spec", "reference", "link 0", "patches", "link 1"),
        *("export context", "export", "passes", "write", "link 2", "types", "build", "link 5"),
    ]
    assert all(stage.seconds > 0 for stage in report.stages)


class _Stages(Observer):
    """Writes down where each stage begins."""

    def __init__(self) -> None:
        self.life: list[tuple[str, list[str]]] = [("start", [])]

    def stage_started(self, name: str) -> None:
        self.life.append((name, []))

    def asked(self, call: HookCall) -> None:
        if call.hook == "conversion_finished":
            self.life.append(("end", []))
        hooks = self.life[-1][1]
        if call.hook not in hooks:
            hooks.append(call.hook)


# an engine needs TensorRT, and a hook in its build process needs one that builds; half precision needs no Q/DQ nodes
NOT_HERE = {"link 4", "configure_builder", "quantize"}


def test_the_life_that_the_reference_draws(tiny: str, install_extension: Install, image: Path) -> None:
    observer = _Stages()
    install_extension("ext", "@hookimpl\ndef conversion_finished():\n    pass\n")
    Path("plugins.toml").write_text('[plugins]\ndisable = ["mlflow", "modelopt"]\n')
    with listen_to_hooks(observer.asked):
        adaptrt.convert("detector", adapter=tiny, image=image, precision="fp16", target=10, observer=observer)
    drawn = [
        (stage, [hook for hook in hooks if hook not in NOT_HERE])
        for stage, hooks in hookspecs.LIFE
        if stage not in NOT_HERE
    ]
    assert observer.life == drawn


def test_every_hook_has_its_place_in_the_life() -> None:
    known = {name for name, value in vars(hookspecs).items() if hasattr(value, "adaptrt_spec")}
    assert {hook for _, hooks in hookspecs.LIFE for hook in hooks} == known


def test_without_an_image_and_without_verification(convert_with: Convert) -> None:
    report = convert_with(WATCHER, verify="none")
    assert report.calls == [  # type: ignore[attr-defined]
        *("model_spec", "example_inputs", "patches", "example_inputs", "export_onnx"),
        *("graph_passes", "reduce_precision", "build_engine", "conversion_finished"),
    ]
    assert {link.status for link in report.links} == {"not run"}
    assert all(link.reason for link in report.links)
    assert report.onnx is not None
    assert report.onnx.is_file()


def test_extensions_are_asked_before_the_adapter_before_core(
    tiny: str, install_extension: Install, tmp_path: Path
) -> None:
    source = """
    @hookimpl
    def metrics(ctx, spec):
        return []
    """
    for name in ("zebra", "ant"):
        install_extension(name, source)
    (tmp_path / "first.py").write_text("from adaptrt import hookimpl\n@hookimpl\ndef metrics(): return []\n")
    (tmp_path / "second.py").write_text("from adaptrt import hookimpl\n@hookimpl\ndef metrics(): return []\n")
    plugins = tmp_path / "plugins.toml"
    plugins.write_text('[plugins]\nmodules = ["second.py", "first.py"]\n')
    session, _ = open_session("tiny", plugins)
    request = Request("detector", "tiny")
    session.hooks.metrics(Conversion(request, None, tmp_path), ModelSpec((InputSpec.image(32, 32),)), FP32)
    asked = [call.plugin for call in session.calls if call.hook == "metrics"]
    assert asked == ["zebra", "ant", "first.py", "second.py", "core.predictions"]


def test_a_first_result_ends_the_asking(tiny: str, install_extension: Install) -> None:
    for name in ("a", "b"):
        install_extension(
            name,
            f"""
            from adaptrt import InputSpec
            @hookimpl
            def model_spec(ctx, model):
                return ModelSpec((InputSpec.image(32, 32, name="{name}"),), exporter="torchscript")
            """,
        )
    report = adaptrt.convert("classifier", adapter="tiny", verify="none")
    assert report.spec is not None
    assert report.spec.inputs[0].name == "b"


def test_every_plugin_is_notified_of_the_end_even_if_one_fails(tiny: str, install_extension: Install) -> None:
    heard = "from pathlib import Path\n@hookimpl\ndef conversion_finished():\n    with Path('heard').open('a') as file: file.write('{0}')\n"
    for name in ("a", "c", "e"):
        install_extension(name, heard.format(name))
    for name in ("b", "d"):
        install_extension(name, heard.format(name) + f"    raise OSError('the server of {name} is gone')\n")
    install_extension("around", "@hookimpl(wrapper=True)\ndef conversion_finished():\n    return (yield)\n")
    with pytest.raises(PluginError, match="the server of d is gone") as caught:
        adaptrt.convert("classifier", adapter=tiny, verify="none")
    assert Path("heard").read_text() == "edcba"
    assert "b (adaptrt-b 1.0) failed in conversion_finished: OSError: the server of b is gone" in caught.value.message
    assert caught.value.hint == "The files were written: classifier.onnx"
    assert Path("classifier.onnx").is_file()


def test_wrappers_stand_around_everybody(tiny: str, install_extension: Install) -> None:
    for name in ("a", "b"):
        install_extension(
            name,
            f"""
            from dataclasses import replace
            @hookimpl(wrapper=True)
            def model_spec():
                spec = yield
                return replace(spec, metadata={{**spec.metadata, "{name}": ""}})
            """,
        )
    report = adaptrt.convert("classifier", adapter="tiny", verify="none")
    assert report.spec is not None
    assert [*report.spec.metadata][-2:] == ["a", "b"]


def test_each_conversion_has_separate_plugins(tiny: str, install_extension: Install) -> None:
    first, _ = open_session("tiny")
    install_extension("late", "@hookimpl\ndef metrics(): return []\n")
    second, _ = open_session("tiny")
    assert "late" not in first.sources
    assert second.sources["late"] == "adaptrt-late 1.0"
