"""Mistakes of plugin authors: the error leads to the fix."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from adaptrt import GraphError, ModelError, PatchError, PluginError, Report
from adaptrt.pipeline.sessions import open_session

Convert = Callable[..., Report]
Install = Callable[..., str]
FakeDistribution = Callable[..., Path]


def warning_of(source: str, install_extension: Install) -> str:
    install_extension("ext", source)
    (warning,) = open_session(None)[0].warnings
    return warning


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            "@hookimpl\ndef graph_passes(context): return []\n",
            "graph_passes has no parameter 'context'. Did you mean 'ctx'?",
        ),
        ("@hookimpl\ndef adapter_options(ctx): pass\n", "adapter_options has no parameter 'ctx'. It has none."),
        (
            "@hookimpl(wrapper=True)\ndef model_spec(ctx): pass\n",
            "model_spec is marked with wrapper=True, but does not yield.",
        ),
        ("@hookimpl\ndef graph_pases(): pass\n", "unknown hook 'graph_pases'. Did you mean 'graph_passes'?"),
    ],
)
def test_mistakes_are_explained(source: str, said: str, install_extension: Install) -> None:
    assert said in warning_of(source, install_extension)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            "def graph_passes(ctx): return []\n",
            "graph_passes is not marked as a hook, so adaptrt does not call it: add @adaptrt.hookimpl, or rename it.",
        ),
        ("def patches(): pass\ndef metrics(spec): pass\n", "patches, metrics are not marked as hooks"),
        ("class Hooks:\n    @hookimpl\n    def patches(self): pass\n", "no function in it is marked as a hook"),
    ],
)
def test_a_plugin_whose_functions_are_not_marked(source: str, said: str, install_extension: Install) -> None:
    install_extension("ext", source)
    (warning,) = open_session(None)[0].warnings
    assert warning.startswith("ext (adaptrt-ext 1.0): ")
    assert said in warning


def test_parameters_with_a_default_are_the_plugins_own(install_extension: Install) -> None:
    install_extension("ext", "@hookimpl\ndef patches(ctx, verbose=False, *more): return []\n")
    session, _ = open_session(None)
    assert session.warnings == []


def test_an_adapter_and_an_extension_of_one_name(fake_distribution: FakeDistribution) -> None:
    source = "from adaptrt import hookimpl\n@hookimpl\ndef load_model(): pass\n"
    fake_distribution(
        "adaptrt-one",
        {"adaptrt.adapters": {"one": "one"}, "adaptrt.extensions": {"one": "one_extension"}},
        modules={"one": source, "one_extension": source.replace("load_model", "patches")},
    )
    (warning,) = open_session("one")[0].warnings
    assert "Skipping extension one: one (adaptrt-one 1.0): a plugin of this name is active already" in warning


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        ("model_spec", r"ext \(adaptrt-ext 1.0\) must return a ModelSpec from model_spec, but returned nothing"),
        ("graph_passes", r"ext \(adaptrt-ext 1.0\) failed in graph_passes: .* must return the result of its yield"),
    ],
)
def test_a_wrapper_that_drops_the_result(hook: str, said: str, convert_with: Convert) -> None:
    with pytest.raises(PluginError, match=said) as caught:
        convert_with(f"@hookimpl(wrapper=True)\ndef {hook}():\n    found = yield\n", verify="none")
    if hook == "model_spec":
        assert (caught.value.hint or "").startswith("A wrapper has to return the result of its yield.")


def test_functions_that_a_plugin_uses_itself_are_no_mistake(install_extension: Install) -> None:
    """Their names are those of hooks, but it has hooks under these names, or takes none of their parameters."""
    source = """
@hookimpl(specname="patches")
def own():
    return patches()

def patches():
    return []

def metrics():
    return []
"""
    install_extension("ext", source)
    session, _ = open_session(None)
    assert session.warnings == []


@pytest.mark.parametrize(
    ("run", "said", "hint"),
    [
        (
            "lambda model: 1 / 0",
            r"Graph pass 'mine' \(ext\) failed: ZeroDivisionError",
            r"^Raised at .*:\d+\. Use --debug",
        ),
        (
            "lambda model: 3",
            r"Graph pass 'mine' \(ext\) must return an onnx_ir.Model or nothing, but returned int",
            "place",
        ),
    ],
)
def test_a_graph_pass_that_fails(run: str, said: str, hint: str, convert_with: Convert) -> None:
    source = f"""
        @hookimpl
        def graph_passes():
            return [GraphPass(name="mine", order=95, reason="r", run={run})]
        """
    with pytest.raises(GraphError, match=said) as error:
        convert_with(source)
    assert re.search(hint, error.value.hint or "")


@pytest.mark.parametrize(
    ("group", "said"),
    [
        ("axis=7", "is along axis 7, but the output is"),
        ("axis=1, start=0, stop=999", r"is 0:999 along axis 1, which has \d+ entries"),
    ],
)
def test_a_group_outside_of_its_output(group: str, said: str, convert_with: Convert) -> None:
    source = f"""
        from dataclasses import replace

        @hookimpl(wrapper=True)
        def model_spec(ctx, model):
            spec = yield
            groups = (OutputGroup("all", "values", {group}),)
            return replace(spec, outputs=tuple(replace(output, groups=groups) for output in spec.outputs))
        """
    with pytest.raises(ModelError, match=f"Group 'all' of output '.*' {said}"):
        convert_with(source)


@pytest.mark.parametrize(
    ("replacement", "hint"),
    [
        ("lambda self, x: x", r"gets the original function first: replacement\(original, \*args, \*\*kwargs\)"),
        ("lambda original, self, x: 1 / 0", r"^Raised (by|at) .*:\d+"),
    ],
)
def test_a_replacement_that_raises(replacement: str, hint: str, convert_with: Convert) -> None:
    source = f"""
        @hookimpl
        def patches():
            return [FunctionPatch(target="tinyvision.nets:Features.forward", requires="torch>=2", reason="r",
                                  replacement={replacement})]
        """
    with pytest.raises(PatchError, match="Link 1") as error:
        convert_with(source)
    assert re.search(hint, error.value.hint or "")
