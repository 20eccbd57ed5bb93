"""What plugins may not do, and how they are told: by name, distribution and version."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import adaptrt
from adaptrt import PluginError, Report
from adaptrt.errors import DependencyError
from adaptrt.pipeline.sessions import open_session

Convert = Callable[..., Report]

Install = Callable[..., str]
FakeDistribution = Callable[..., Path]

EXT = r"ext \(adaptrt-ext 1.0\)"


def warning_of(source: str, install_extension: Install) -> str:
    install_extension("ext", source)
    session, _ = open_session(None)
    assert "ext" not in session.sources
    (warning,) = session.warnings
    return warning


@pytest.mark.parametrize("option", ["tryfirst", "trylast"])
def test_no_one_jumps_the_order(option: str, fake_distribution: FakeDistribution, install_extension: Install) -> None:
    source = f"@hookimpl({option}=True)\ndef metrics(ctx, spec): return []\n"
    warning = warning_of(source, install_extension)
    assert warning.startswith("Skipping extension ext: ext (adaptrt-ext 1.0): tryfirst and trylast are not allowed")
    assert "(metrics)" in warning
    fake_distribution(
        "adaptrt-pushy",
        {"adaptrt.adapters": {"pushy": "pushy"}},
        modules={"pushy": "from adaptrt import hookimpl\n@hookimpl\ndef load_model(): pass\n" + source},
    )
    with pytest.raises(PluginError, match=r"pushy \(adaptrt-pushy 1.0\): tryfirst and trylast"):
        open_session("pushy")


def test_the_old_kind_of_wrapper(install_extension: Install) -> None:
    warning = warning_of("@hookimpl(hookwrapper=True)\ndef metrics(): yield\n", install_extension)
    assert "hookwrapper=True is not supported (metrics)" in warning


def test_unknown_hooks_have_a_nearest(fake_distribution: FakeDistribution, install_extension: Install) -> None:
    source = "@hookimpl\ndef graph_pases(ctx, spec): return []\n"
    assert "unknown hook 'graph_pases'" in warning_of(source, install_extension)
    fake_distribution(
        "adaptrt-typo",
        {"adaptrt.adapters": {"typo": "typo"}},
        modules={"typo": "from adaptrt import hookimpl\n" + source},
    )
    with pytest.raises(PluginError) as caught:
        open_session("typo")
    assert caught.value.hint == "Did you mean 'graph_passes'?"


def test_a_wrong_signature(install_extension: Install) -> None:
    warning = warning_of("@hookimpl\ndef metrics(ctx, spec, shapes): return []\n", install_extension)
    assert "ext (adaptrt-ext 1.0) does not match the hook specifications" in warning
    assert "metrics has no parameter 'shapes'." in warning
    assert "\n" not in warning


def test_functions_without_the_mark_are_no_hooks(convert_with: Convert) -> None:
    assert convert_with("def metrics(anything): raise AssertionError\n", verify="none").status == "passed"


@pytest.mark.parametrize(
    "source",
    ["import not_there\n", "1 / 0\n", "raise SystemExit(3)\n", "def broken(:\n"],
    ids=["import", "error", "exit", "syntax"],
)
def test_a_broken_extension_is_skipped(source: str, convert_with: Convert) -> None:
    report = convert_with(source, verify="none")
    (warning,) = report.warnings
    assert warning.startswith("Skipping extension ext: ext (adaptrt-ext 1.0) cannot be imported: ")


def test_an_extension_for_another_core_is_skipped_unimported(install_extension: Install) -> None:
    install_extension("ext", "raise AssertionError\n", requires=["adaptrt>=999"])
    session, _ = open_session(None)
    assert session.warnings == [
        f"Skipping extension ext: adaptrt-ext 1.0 cannot run here: adaptrt is {adaptrt.__version__} (needs adaptrt>=999)."
    ]
    assert "extension_ext" not in sys.modules


def test_an_adapter_for_another_core_is_an_error(fake_distribution: FakeDistribution) -> None:
    fake_distribution(
        "adaptrt-late",
        {"adaptrt.adapters": {"late": "late"}},
        modules={"late": "raise AssertionError"},
        requires=["adaptrt[export]>=999"],
    )
    with pytest.raises(DependencyError, match=r"'late' \(adaptrt-late 1.0\) cannot run here: adaptrt is .*>=999"):
        open_session("late")
    assert "late" not in sys.modules


def test_an_adapter_that_cannot_be_imported_is_an_error(fake_distribution: FakeDistribution) -> None:
    fake_distribution("adaptrt-bad", {"adaptrt.adapters": {"bad": "bad"}}, modules={"bad": "import not_there"})
    with pytest.raises(PluginError, match=r"bad \(adaptrt-bad 1.0\) cannot be imported: .*not_there") as caught:
        open_session("bad")
    assert caught.value.hint == "Try: python -c 'import bad'"


RAISING = (
    *("model_spec", "example_inputs", "patches", "export_onnx", "graph_passes", "reduce_precision", "build_engine"),
    *("preprocess", "postprocess", "framework_predictions", "metrics"),
)


@pytest.mark.parametrize("wrapper", [False, True], ids=["plain", "wrapper"])
@pytest.mark.parametrize("hook", RAISING)
def test_a_plugin_that_raises_is_named(hook: str, wrapper: bool, convert_with: Convert, image: Path) -> None:
    body = "yield\n    " if wrapper else ""
    source = f"@hookimpl(wrapper={wrapper})\ndef {hook}():\n    {body}raise KeyError('lost')\n"
    with pytest.raises(PluginError, match=f"{EXT} failed in {hook}: KeyError: 'lost'") as caught:
        convert_with(source, image=image)
    assert caught.value.report is not None
    assert caught.value.report.status == "failed"
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise KeyError('lost')", r"^Raised at [^ ]*/bad\.py:5\. Use --debug"),
        ("helper()", r"^Raised at [^ ]*/bad\.py:3\. Use --debug"),
        ("import json; json.loads('{')", r"^Raised by json, at [^ ]*json/\w+\.py:\d+, called at [^ ]*/bad\.py:5\. Use --debug"),
        ("from adaptrt import InputSpec; InputSpec.image()", r"^Raised at [^ ]*/bad\.py:5\. "),
    ],
)  # fmt: skip
def test_the_line_that_raised_is_named(body: str, said: str, fake_distribution: FakeDistribution) -> None:
    """An author sees whether it is the plugin's own line, or one of the framework that it called."""
    source = f"from adaptrt import hookimpl\n\ndef helper(): return [][1]\n@hookimpl\ndef load_model(): {body}\n"
    fake_distribution("adaptrt-bad", {"adaptrt.adapters": {"bad": "bad"}}, modules={"bad": source})
    with pytest.raises(PluginError, match=r"bad \(adaptrt-bad 1.0\) failed in load_model: ") as caught:
        adaptrt.convert("net", adapter="bad")
    assert re.search(said, str(caught.value.hint)), caught.value.hint


def test_an_error_of_the_tree_stays_what_it_is(convert_with: Convert) -> None:
    with pytest.raises(adaptrt.ExportError, match="this operator cannot be"):
        convert_with("@hookimpl\ndef export_onnx(): raise ExportError('this operator cannot be')\n")


NONSENSE = [
    ("model_spec", "'a spec'", "a ModelSpec", "str 'a spec'"),
    ("example_inputs", "[1]", "a mapping with the inputs images", "list"),
    ("example_inputs", "{}", "a mapping with the inputs images", "dict"),
    ("example_inputs", "{'images': 3}", "a torch.Tensor for images", "int '3'"),
    ("example_inputs", "{'images': __import__('torch').zeros(3)}", "images of shape (1, 3, 64, 64)", "(3,)"),
    ("example_inputs", "{'images': __import__('torch').zeros(1, 3, 64, 64).double()}", "and float32", "float64"),
    ("patches", "'patch'", "a list of Patch", "str 'patch'"),
    ("patches", "['patch']", "a list of Patch", "str 'patch'"),
    ("patches", "{}", "a list of Patch", "dict"),
    ("patches", "[Metric(name='m', task='any', reason='r', compute=max)]", "a list of Patch", "Metric"),
    ("export_onnx", "'best.onnx'", "the Path of a file it wrote", "str 'best.onnx'"),
    ("export_onnx", "__import__('pathlib').Path('none.onnx')", "the Path of a file it wrote", "Path 'none.onnx'"),
    ("graph_passes", "[print]", "a list of GraphPass", "builtin_function_or_method"),
    ("graph_passes", "print", "a list of GraphPass", "builtin_function_or_method"),
    ("reduce_precision", "3", "the Path of a file it wrote", "int '3'"),
    ("build_engine", "b'plan'", "the Path of a file it wrote", "bytes"),
    ("preprocess", "1", "(arrays for images, ImageMeta)", "int '1'"),
    ("preprocess", "({}, None)", "(arrays for images, ImageMeta)", "tuple"),
    ("postprocess", "[]", "1 predictions", "list '[]'"),
    ("postprocess", "'x'", "Detections (task 'detect')", "str 'x'"),
    ("framework_predictions", "[]", "Detections (task 'detect')", "list"),
    ("metrics", "[1]", "a list of Metric", "int '1'"),
]


@pytest.mark.parametrize("wrapper", [False, True], ids=["plain", "wrapper"])
@pytest.mark.parametrize(("hook", "answer", "wanted", "returned"), NONSENSE)
def test_nonsense_is_named(
    hook: str, answer: str, wanted: str, returned: str, wrapper: bool, convert_with: Convert, image: Path
) -> None:
    collected = hook in ("patches", "graph_passes", "metrics")
    body = (
        f"found = yield\n    return {f'[*found, {answer}]' if collected else answer}" if wrapper else f"return {answer}"
    )
    source = f"@hookimpl(wrapper={wrapper})\ndef {hook}():\n    {body}\n"
    with pytest.raises(PluginError) as caught:
        convert_with(source, image=image)
    message = caught.value.message
    assert re.match(f"{EXT} must return ", message), message
    assert wanted in message
    assert returned in message.replace("PosixPath", "Path")
    assert hook in message


BOX = "np.array([[0, 0, 9, 9]], np.float32)"
MALFORMED = [
    ("postprocess", BOX, "np.ones(2, np.float32)", "np.zeros(2, int)", r"boxes must be an array of numbers, \[2, 4\]; got float32 \[1, 4\]"),
    ("framework_predictions", BOX, "np.ones(1, np.float32)", "np.array([7])", r"labels must be from 0 to 2, the classes of the spec; got 7 to 7"),
]  # fmt: skip


@pytest.mark.parametrize(("hook", "boxes", "scores", "labels", "said"), MALFORMED)
def test_a_malformed_prediction_is_named(
    hook: str, boxes: str, scores: str, labels: str, said: str, convert_with: Convert, image: Path
) -> None:
    """What nothing else could draw or compare is the error of the plugin that returned it."""
    found = f"Detections({boxes}, {scores}, {labels})"
    answer = f"[{found} for _ in metas]" if hook == "postprocess" else found
    arguments = "metas" if hook == "postprocess" else ""
    source = f"import numpy as np\n@hookimpl\ndef {hook}({arguments}):\n    return {answer}\n"
    with pytest.raises(PluginError, match=f"{EXT} returned a malformed Detections from {hook}: {said}") as caught:
        convert_with(source, image=image)
    assert caught.value.hint == "See Detections in the Python API reference."
    assert list(Path().glob("*.onnx")) == []


@pytest.mark.parametrize(("body", "what"), [("return 1\n    yield", "did not"), ("yield\n    yield", "yielded again")])
def test_wrappers_yield_once(body: str, what: str, convert_with: Convert) -> None:
    with pytest.raises(PluginError, match=f"{EXT} failed in model_spec: RuntimeError: .*{what}"):
        convert_with(f"@hookimpl(wrapper=True)\ndef model_spec():\n    {body}\n")


@pytest.mark.parametrize("hook", ["adapter_options", "load_model"])
def test_an_adapter_that_raises_is_named(hook: str, tiny: str, fake_distribution: FakeDistribution) -> None:
    hooks = {"load_model": "raise AssertionError", hook: "raise KeyError('lost')"}
    source = "from adaptrt import hookimpl\n" + "".join(
        f"@hookimpl\ndef {name}(): {body}\n" for name, body in hooks.items()
    )
    fake_distribution("adaptrt-bad", {"adaptrt.adapters": {"bad": "bad"}}, modules={"bad": source})
    with pytest.raises(PluginError, match=rf"bad \(adaptrt-bad 1.0\) failed in {hook}: KeyError: 'lost'"):
        adaptrt.convert("net", adapter="bad")


def test_an_adapter_with_a_wrong_signature_is_an_error(fake_distribution: FakeDistribution) -> None:
    source = "from adaptrt import hookimpl\n@hookimpl\ndef load_model(context): pass\n"
    fake_distribution("adaptrt-bad", {"adaptrt.adapters": {"bad": "bad"}}, modules={"bad": source})
    with pytest.raises(PluginError, match=r"bad \(adaptrt-bad 1.0\) does not match the hook specifications: .*context"):
        open_session("bad")


def test_a_model_that_is_none(tiny: str, fake_distribution: FakeDistribution) -> None:
    for number, answer in enumerate(("None", "'net'", "__import__('torch').nn.Conv2d")):
        fake_distribution(
            f"adaptrt-bad{number}",
            {"adaptrt.adapters": {f"bad{number}": f"bad{number}"}},
            modules={f"bad{number}": f"from adaptrt import hookimpl\n@hookimpl\ndef load_model(): return {answer}\n"},
        )
        with pytest.raises(
            PluginError, match=rf"bad{number} \(adaptrt-bad{number} 1.0\) must return a torch.nn.Module"
        ):
            adaptrt.convert("net", adapter=f"bad{number}")


def test_options_that_are_no_dataclass(tiny: str, fake_distribution: FakeDistribution) -> None:
    source = """
    from adaptrt import hookimpl
    @hookimpl
    def adapter_options(): return {"gain": 1}
    @hookimpl
    def load_model(): raise AssertionError
    """
    fake_distribution("adaptrt-bad", {"adaptrt.adapters": {"bad": "bad"}}, modules={"bad": source})
    with pytest.raises(PluginError, match=r"bad \(adaptrt-bad 1.0\) must return a dataclass type from adapter_options"):
        adaptrt.convert("net", adapter="bad")


CLASHES = {
    "patches": """
        FunctionPatch(target="tinyvision.nets:cell_centers", requires="torch>=2", reason="r"{replaces},
                      replacement=lambda original, height, width: original(int(height), int(width)))""",
    "graph_passes": """GraphPass(name="fold", order=10, reason="r", run=lambda model: None{replaces})""",
    "metrics": """
        Metric(name="matched boxes (IoU 0.99, score within 0.001)", task="detect", reason="r"{replaces},
               compute=lambda a, b: 1.0)""",
}
OTHERS = {"patches": r"tiny \(adaptrt-tiny 0.3\)", "graph_passes": r"core.conversion \(adaptrt\)"}


@pytest.mark.parametrize("hook", CLASHES)
def test_a_clash_names_both(hook: str, convert_with: Convert, image: Path) -> None:
    item = CLASHES[hook].format(replaces="").strip()
    other = OTHERS.get(hook, r"core.predictions \(adaptrt\)")
    with pytest.raises(PluginError, match=f"{EXT} and {other} both contribute '.*' to {hook}") as caught:
        convert_with(f"@hookimpl\ndef {hook}():\n    return [{item}]\n", image=image)
    assert "replaces=" in (caught.value.hint or "")


NAMES = {
    "patches": "tinyvision.nets:cell_centers",
    "graph_passes": "fold",
    "metrics": "matched boxes (IoU 0.99, score within 0.001)",
}


@pytest.mark.parametrize("hook", CLASHES)
def test_replaces_settles_a_clash(hook: str, convert_with: Convert, image: Path) -> None:
    item = CLASHES[hook].format(replaces=f", replaces={NAMES[hook]!r}").strip()
    report = convert_with(f"@hookimpl\ndef {hook}():\n    return [{item}]\n", image=image)
    if hook == "patches":
        assert {patch.target: patch.plugin for patch in report.patches}[NAMES[hook]] == "ext"
    elif hook == "graph_passes":
        assert (report.passes[0].name, report.passes[0].plugin) == ("fold", "ext")
    else:
        assert [check.reason for check in report.link(5).checks] == ["r"]


def test_two_that_replace_the_same_clash(tiny: str, install_extension: Install) -> None:
    for name in ("a", "b"):
        source = "@hookimpl\ndef graph_passes():\n    return [GraphPass(name='fold', order=1, reason='r', run=len, replaces='fold')]\n"
        install_extension(name, source)
    with pytest.raises(PluginError, match=r"b \(adaptrt-b 1.0\) and a \(adaptrt-a 1.0\) both replace 'fold'"):
        adaptrt.convert("detector", adapter="tiny", verify="none")


def test_contributions_may_come_from_a_generator(convert_with: Convert) -> None:
    report = convert_with(
        "@hookimpl\ndef graph_passes():\n    yield GraphPass(name='mine', order=99, reason='r', run=lambda model: None)\n"
    )
    assert report.passes[-1].plugin == "ext"


def test_two_distributions_claim_one_extension(fake_distribution: FakeDistribution, install_extension: Install) -> None:
    install_extension("ext", "")
    fake_distribution("other", {"adaptrt.extensions": {"ext": "other_ext"}}, modules={"other_ext": ""}, version="2.1")
    session, _ = open_session(None)
    assert session.warnings == ["Skipping extension ext: it is claimed by adaptrt-ext 1.0 and other 2.1."]
    assert "extension_ext" not in sys.modules
    assert "other_ext" not in sys.modules


def test_two_distributions_claim_one_adapter(fake_distribution: FakeDistribution) -> None:
    for name in ("adaptrt-one", "adaptrt-two"):
        fake_distribution(name, {"adaptrt.adapters": {"net": "net"}}, modules={"net": "raise AssertionError"})
    with pytest.raises(PluginError, match="'net' is claimed by adaptrt-one 1.0 and adaptrt-two 1.0") as caught:
        open_session("net")
    assert caught.value.hint == "Uninstall one of them: pip uninstall adaptrt-two"


def test_one_distribution_found_twice_counts_once(fake_distribution: FakeDistribution) -> None:
    source = "from adaptrt import hookimpl\n@hookimpl\ndef load_model(): pass\n"
    for version in ("1.0", "2.0"):
        fake_distribution("adaptrt-net", {"adaptrt.adapters": {"net": "net"}}, modules={"net": source}, version=version)
    session, _ = open_session("net")
    assert session.sources["net"] == "adaptrt-net 2.0"  # the first on the path


def test_an_adapter_with_unmet_requirements_is_not_imported(fake_distribution: FakeDistribution) -> None:
    fake_distribution(
        "adaptrt-needy",
        {"adaptrt.adapters": {"needy": "needy"}},
        modules={"needy": "raise AssertionError"},
        requires=["numpy>=999", "not-installed-at-all>=2", "other; extra == 'more'", "numpy"],
    )
    with pytest.raises(DependencyError) as caught:
        open_session("needy")
    message = caught.value.message
    assert message.startswith("Adapter 'needy' (adaptrt-needy 1.0) cannot run here: numpy is ")
    assert "(needs numpy>=999)" in message
    assert "not-installed-at-all is missing (needs not-installed-at-all>=2)" in message
    assert "other" not in message
    assert "needy" not in sys.modules
    assert caught.value.exit_code == 3


def test_an_unknown_adapter_has_a_nearest(fake_distribution: FakeDistribution) -> None:
    fake_distribution("adaptrt-nets", {"adaptrt.adapters": {"mobilenet": "x"}})
    with pytest.raises(PluginError, match="Unknown adapter 'mobilnet'") as caught:
        open_session("mobilnet")
    assert caught.value.hint == "Did you mean 'mobilenet'? See: adaptrt adapters"


def test_only_the_chosen_adapter_is_imported(tiny: str, fake_distribution: FakeDistribution) -> None:
    fake_distribution(
        "adaptrt-other",
        {"adaptrt.adapters": {"other": "other_adapter"}},
        modules={"other_adapter": "raise AssertionError"},
    )
    open_session("tiny")
    assert "tiny_adapter" in sys.modules
    assert "other_adapter" not in sys.modules


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            "image=replace(spec.image, input='photos')",
            "from model_spec whose image is assigned to 'photos', which is not an input",
        ),
        (
            "decoder=DecoderSpec('yollo')",
            r"ext \(adaptrt-ext 1.0\) returned a spec from model_spec whose decoder .*: Unknown decoder 'yollo'",
        ),
        (
            "decoder=DecoderSpec('yolo', {'confidence': 0.5})",
            "from model_spec with invalid parameters of decoder 'yolo': Unknown option 'confidence'",
        ),
        (
            "decoder=DecoderSpec('yolo', {'conf': 'high'})",
            "from model_spec with invalid parameters of decoder 'yolo': ",
        ),
        ("inputs=()", "from model_spec without inputs"),
        ("inputs=spec.inputs * 2", "from model_spec with several inputs named 'images'"),
        (
            "inputs=(replace(spec.inputs[0], dtype='float'),)",
            "from model_spec whose input 'images' has an unknown type, 'float'",
        ),
        ("inputs=(replace(spec.inputs[0], dtype='f16x'),)", "has an unknown type, 'f16x'"),
        ("inputs=(replace(spec.inputs[0], dtype='f4, ('),)", r"has an unknown type, 'f4, \('"),
        (
            "labels='cat'",
            r"ext \(adaptrt-ext 1.0\) failed in model_spec: TypeError: ModelSpec.labels must be a tuple of str",
        ),
    ],
)
def test_an_unusable_spec_is_reported_at_once(changed: str, said: str, convert_with: Convert) -> None:
    source = f"""
        from dataclasses import replace

        @hookimpl(wrapper=True)
        def model_spec(ctx, model):
            spec = yield
            return replace(spec, {changed})

        @hookimpl
        def example_inputs(ctx, spec, shapes, seed):
            raise AssertionError("too late")
        """
    with pytest.raises(PluginError, match=said):
        convert_with(source)


@pytest.mark.parametrize("finder", ["Python's", "importlib_metadata's"])
def test_a_distribution_without_metadata(
    finder: str, fake_distribution: FakeDistribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    if finder != "Python's":  # the package replaces Python's finder once it is imported, by whomever
        package = pytest.importorskip("importlib_metadata", reason="not every environment holds importlib_metadata")
        monkeypatch.setattr("importlib.metadata.distributions", package.distributions)
    folder = fake_distribution("adaptrt-gone", {"adaptrt.extensions": {"gone": "gone_module"}})
    (metadata,) = folder.glob("*/METADATA")
    metadata.unlink()
    session, _ = open_session(None)
    assert "Skipping extension gone" in session.warnings[0]


def test_patches_beyond_their_tested_versions_need_link_1(tiny: str, install_extension: Install) -> None:
    install_extension(
        "ext",
        """
        @hookimpl
        def patches():
            return [FunctionPatch(target="tinyvision.nets:Features.forward", requires="torch>=2", tested="torch>=2,<2.1",
                                  reason="r", replacement=lambda original, self, x: original(self, x))]
        """,
    )
    report = adaptrt.convert("detector", adapter="tiny", verify="quick")
    assert any(
        "the patches of ext (1) were tested with torch>=2,<2.1: link 1 checks that the result is unchanged." in text
        for text in report.warnings
    )
    assert report.link(1).status == "passed"
    (record,) = (one for one in report.patches if one.plugin == "ext")
    assert record.untested.startswith("2.")
    with pytest.raises(adaptrt.PatchError, match="without link 1 nothing checks"):
        adaptrt.convert("detector", adapter="tiny", verify="none")
