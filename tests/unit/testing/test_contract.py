"""The contract holds a good adapter to be good, tells what is wrong with a bad one, and cannot be cut short."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="a conversion needs torch")

from adaptrt import InputSpec, ModelSpec, Report, Request, ShapeRequest
from adaptrt.pipeline.adapter_session import AdapterSession
from adaptrt.report import FileRecord, Finding, SourceLocation
from adaptrt.specs import parse_batch
from adaptrt.testing import AdapterContract
from adaptrt.testing.contract import STANDARD_TESTS


@pytest.fixture(autouse=True)
def _installed(tiny: str) -> None:
    """The adapter ``tiny``."""


class TestDetector(AdapterContract):
    adapter = "tiny"
    source = "detector"


class TestClassifier(AdapterContract):
    adapter = "tiny"

    @pytest.fixture
    def source(self) -> str:
        return "classifier"


class TestTwoInputs(AdapterContract):
    adapter = "tiny"
    source = "two_inputs"


def replacement() -> None:
    """Tests nothing."""


def excused() -> None:
    """Fails, and says why."""


@pytest.mark.parametrize("name", STANDARD_TESTS)
def test_a_standard_test_is_never_removed(name: str) -> None:
    for other in (None, replacement, pytest.mark.skip(reason="no")(replacement), pytest.mark.xfail(replacement)):
        with pytest.raises(TypeError, match=f"removes the standard test {name}"):
            type("TestMine", (AdapterContract,), {name: other})
    type("TestMine", (AdapterContract,), {name: pytest.mark.xfail(reason="not yet")(excused)})


@pytest.fixture
def bad(fake_distribution: Callable[..., Path], tmp_path: Path) -> Callable[[str], AdapterSession]:
    """An adapter ``bad`` of this source, opened."""

    def install(source: str) -> AdapterSession:
        good = "from adaptrt import *\nfrom adaptrt import hookimpl\nimport tiny_adapter as tiny\n"
        good += (
            "@hookimpl\ndef load_model(ctx):\n    import torch\n    torch.manual_seed(0)\n    return make().eval()\n"
        )
        good += "def make():\n    from torch import nn\n    return nn.Conv2d(3, 2, 3)\n"
        fake_distribution(
            "adaptrt-bad", {"adaptrt.adapters": {"bad": "bad_adapter"}}, modules={"bad_adapter": good + source}
        )
        return AdapterSession(
            Request("x", "bad", shapes=ShapeRequest(imgsz=(8, 8), batch=parse_batch("1:2:2"))), tmp_path
        )

    return install


@pytest.mark.parametrize(
    ("test", "source", "advice"),
    [
        ("test_the_model_loads", "def make():\n    import torch\n    class M(torch.nn.Conv2d):\n        def eval(self): return self\n    return M(3, 2, 3)", "model.eval"),
        ("test_the_model_loads", "def make():\n    import torch\n    return torch.nn.Conv2d(3, 2, 3).half()", "model.float"),
        ("test_the_model_loads", "def make():\n    import torch\n    torch.seed()\n    return torch.nn.Conv2d(3, 2, 3)", "Seed random weights"),
        ("test_the_spec_is_consistent", "@hookimpl\ndef model_spec():\n    s = InputSpec.image(8, 8)\n    return ModelSpec(inputs=(s,), image=ImageTransform(), outputs=(OutputSpec('y', groups=(OutputGroup('g', 'values', axis=1, start=0, stop=9),)),))", "which has 2 entries"),
        ("test_the_spec_is_consistent", "@hookimpl\ndef model_spec():\n    return ModelSpec(inputs=(InputSpec.image(8, 8),), image=ImageTransform(), decoder=DecoderSpec('yolo', {'confidence': 1}))", "Unknown option 'confidence'"),
        ("test_the_spec_is_consistent", "@hookimpl\ndef model_spec():\n    import pathlib\n    return ModelSpec(inputs=(InputSpec.image(8, 8),), decoder=DecoderSpec('raw', {'file': pathlib.Path('x')}))", r"str\(path\) for a path"),
        ("test_the_spec_is_consistent", "@hookimpl\ndef model_spec():\n    return ModelSpec(inputs=(InputSpec.image(8, 8),), image=ImageTransform(), outputs=(OutputSpec('images'),))", "names must be unique"),
        ("test_the_spec_is_consistent", "@hookimpl\ndef model_spec():\n    return ModelSpec(inputs=(InputSpec.image(8, 8),), image=ImageTransform(input='photos'))", "assigned to 'photos', which is not an input"),
        ("test_example_inputs_fit", "@hookimpl\ndef example_inputs(spec, shapes):\n    import torch\n    return {name: torch.rand(shape) * float('nan') for name, shape in shapes.items()}", "NaN or infinity at the min shapes"),
        ("test_example_inputs_fit", "@hookimpl\ndef example_inputs(spec, shapes):\n    import torch\n    return {name: torch.ones(shape) for name, shape in shapes.items()}", "Use the seed"),
        ("test_outputs_depend_on_inputs", "def make():\n    import torch\n    class M(torch.nn.Module):\n        def forward(self, x): return x * 0\n    return M()", "Perturb the weights"),
        ("test_patches_keep_the_result", "@hookimpl\ndef patches():\n    return [FunctionPatch(target='torch.nn.modules.conv:Conv2d.forward', replacement=lambda original, self, x: original(self, x) + 1, reason='r', requires='torch>=2')]", "which one changes the result"),
        ("test_patches_keep_the_result", "@hookimpl\ndef patches():\n    return [FunctionPatch(target='torch.nn.modules.conv:Conv2d.forward', replacement=lambda original, self, x: original(self, x), reason='r', requires='torch>=2')]", "which versions of torch it was tested with"),
    ],
)  # fmt: skip
def test_a_failure_says_what_to_do(bad: Callable[[str], AdapterSession], test: str, source: str, advice: str) -> None:
    opened = bad(source)
    with pytest.raises(BaseException, match=advice):
        getattr(AdapterContract(), test)(opened)


def test_a_model_may_be_float64_throughout(bad: Callable[[str], AdapterSession]) -> None:
    """As ``load_model`` documents it."""
    opened = bad(
        "def make():\n    from torch import nn\n    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2)).double()\n"
    )
    AdapterContract().test_the_model_loads(opened)


def test_patches_that_stay_are_found(bad: Callable[[str], AdapterSession]) -> None:
    opened = bad(
        "@hookimpl\n"
        "def patches(model):\n"
        "    def build(module):\n"
        "        model.left_behind = 1\n"
        "        return module\n"
        "    return [ModulePatch(target='torch.nn:ReLU', build=build, reason='r', requires='torch>=2')]\n"
        "def make():\n    from torch import nn\n    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU())\n"
    )
    with pytest.raises(AssertionError, match="was not restored"):
        AdapterContract().test_patches_are_restored(opened)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("type(model)._conv_forward = lambda self, x, w, b: x", r"torch\.nn\.modules\.conv:Conv2d\._conv_forward"),
        ("model.fused = False", r"the model\.fused"),
    ],
)
def test_patches_by_hand_are_found(
    bad: Callable[[str], AdapterSession], monkeypatch: pytest.MonkeyPatch, change: str, named: str
) -> None:
    import torch

    monkeypatch.setattr(torch.nn.Conv2d, "_conv_forward", torch.nn.Conv2d._conv_forward)  # and so it is put back
    opened = bad(f"@hookimpl\ndef patches(model):\n    {change}\n    return []\n")
    with pytest.raises(AssertionError, match=f"the hook patches modifies {named} directly"):
        AdapterContract().test_patches_are_restored(opened)


def test_an_exporter_that_works_again_is_noticed(bad: Callable[[str], AdapterSession], tiny: str) -> None:
    class Mine(AdapterContract):
        adapter = "tiny"
        not_exported_by = {"torchscript": "once it could not"}  # noqa: RUF012

    def converted(**changes: Any) -> Report:
        return Report("tiny", "x", "")

    with pytest.raises(AssertionError, match="now works"):
        Mine().test_it_converts("torchscript", converted, bad(""))


def test_a_value_that_the_trace_froze_is_found(bad: Callable[[str], AdapterSession], tiny: str) -> None:
    """Also where every sample happens to take the same branch."""
    place = SourceLocation("net.py", 7, "if x.sum() > 0:")
    frozen = Finding("traced-value", "warning", "", 1, "it decides", "torch.where", [place])

    def converted(**changes: Any) -> Report:
        report = Report("tiny", "x", "", findings=[frozen], spec=ModelSpec((InputSpec.image(8, 8),)))
        report.link(2).status = "passed"
        report.files["onnx"] = FileRecord("x.onnx", 0, "")
        return report

    with pytest.raises(AssertionError, match=r"depends on an input value at net\.py:7 \(if x\.sum\(\) > 0:\)"):
        AdapterContract().test_it_converts("torchscript", converted, bad(""))


def test_an_adapter_that_no_one_installed(tmp_path: Path) -> None:
    class Mine(AdapterContract):
        adapter = "never_heard_of"

    with pytest.raises(BaseException, match="entry-points"):
        Mine().test_it_is_installed()
