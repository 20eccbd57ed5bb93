"""Whole conversions, small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import adaptrt
from adaptrt_torch.sources import find_object, importable

TOKENS = ("mask=B:1..4xN:2..5", "ids=B:1..4xN:2..5", "x=B:1..4xN:2..5x6")


@pytest.mark.parametrize("exporter", [pytest.param("dynamo", marks=pytest.mark.full), "torchscript"])
def test_several_inputs_with_shared_axes(folder: Path, exporter: Any) -> None:
    report = adaptrt.convert(
        "nets.py:Tokens",
        adapter="torch",
        shape=TOKENS,
        exporter=exporter,
        options={"dtypes": {"ids": "int64"}, "ranges": {"ids": [0, 8]}, "kwargs.classes": 5},
    )
    assert report.link(2).status == "passed"
    assert report.onnx == Path("Tokens.onnx")
    spec = report.spec
    assert [(output.name, output.dims) for output in spec.outputs] == [
        ("tokens", ("B", "N", 4)),
        ("logits", ("B", 5)),
        ("answer.score", ("B",)),
        ("answer.best", ("B",)),
    ]
    model = adaptrt.load(report.onnx)
    inputs = {
        "x": np.ones((3, 4, 6), np.float32),
        "ids": np.full((3, 4), 8),
        "mask": np.ones((3, 4), np.float32),
    }
    assert model.runner.run(inputs)["tokens"].shape == (3, 4, 4)


def test_a_folder_of_weights_and_names_for_outputs(folder: Path) -> None:
    with importable("nets.py:build"):
        torch.save({"model": find_object("nets.py:build")(7).state_dict()}, folder / "net.pth")
    report = adaptrt.convert(
        "nets.py:build",
        adapter="torch",
        weights="net.pth",
        shape="images=1..4x3x16x16",
        options={"kwargs.classes": 7, "decoder": "classify", "top_k": 2},
        output_names=["logits"],
        exporter="torchscript",
        verify="quick",
    )
    assert report.spec.outputs[0].dims == ("batch", 7)
    (found,) = adaptrt.load(report.onnx)(np.zeros((20, 30, 3), np.uint8))
    assert len(found.scores) == 2


@pytest.mark.parametrize("kind", ["script", "program"])
def test_programs(folder: Path, kind: str) -> None:
    with importable("nets.py:Vector"):
        model = find_object("nets.py:Vector")().eval()
    if kind == "script":
        torch.jit.script(model).save("v.pt")
        report = adaptrt.convert(
            "v.pt", adapter="torch", shape=["x=1..4x4", "mask=1..4x2"], trust_checkpoint=True, verify="quick"
        )
    else:
        batch = torch.export.Dim("batch", min=1, max=4)
        inputs = (torch.ones(2, 4), torch.ones(2, 2))
        program = torch.export.export(model, inputs, dynamic_shapes={"x": {0: batch}, "mask": {0: batch}})
        torch.export.save(program, "v.pt2")
        report = adaptrt.convert(
            "v.pt2", adapter="torch", trust_checkpoint=True, verify="quick", exporter="torchscript"
        )
    assert report.exporter == "torchscript"
    assert [output.name for output in report.spec.outputs] == ["y", "n"]
    assert [tensor.dims[0].name for tensor in report.spec.inputs] == ["batch", "batch"]
    assert report.link(2).status == "passed"


@pytest.mark.parametrize("exporter", [pytest.param("dynamo", marks=pytest.mark.full), "torchscript"])
def test_outputs_whose_shape_depends_on_the_inputs(folder: Path, exporter: Any) -> None:
    report = adaptrt.convert("nets.py:Finds", adapter="torch", shape="x=1..4x6", exporter=exporter)
    link = report.link(2)
    assert (link.status, link.reason) == (
        "passed",
        "batches 2, 3, 4; places, total: no batch axis, compared as a whole",
    )
    assert {check.title for check in link.checks} == {"twice", "places", "total", "twice in a batch"}
    x = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0]], np.float32).repeat(2, 1)
    found = adaptrt.load(report.onnx).runner.run({"x": x})
    assert np.array_equal(found["places"], np.argwhere(x > 0.5))
    assert "data-dependent" in {finding.rule for finding in report.findings}


@pytest.mark.full
def test_a_recurrent_network_over_a_dynamic_width(folder: Path) -> None:
    """``auto`` starts with TorchScript: dynamo unrolls the recurrence, and rejects the unknown length after minutes."""
    report = adaptrt.convert("nets.py:Reads", adapter="torch", shape="images=B:1..3x1x16xW:16..64@32")
    assert (report.exporter, report.link(2).status) == ("torchscript", "passed")
    assert report.verdict is not None
    assert report.verdict.word == "verified", report.verdict.missing
    assert report.operators["final"]["LSTM"] == 2
    runner, rng = adaptrt.load(report.onnx).runner, np.random.default_rng(0)
    with importable("nets.py:Reads"), torch.no_grad():
        model = find_object("nets.py:Reads")().eval()
        for batch, width in ((1, 16), (3, 52), (2, 64)):
            images = rng.random((batch, 1, 16, width), dtype=np.float32)
            (found,) = runner.run({"images": images}).values()
            assert np.allclose(found, model(torch.from_numpy(images)), atol=1e-5)


def test_a_model_that_fails_itself_says_what_may_be_wrong_with_its_inputs(folder: Path) -> None:
    with pytest.raises(adaptrt.ModelError, match="The model itself fails on x") as caught:
        adaptrt.convert("nets.py:Tokens", adapter="torch", shape=("x=1..4x3x6", "ids=1..4x3"))
    assert 'shape; the types: options={"dtypes.NAME": "int64"}; the values: options={"ranges' in (
        caught.value.hint or ""
    )


def test_a_failure_is_one_message_and_leaves_its_report(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """ONNX Runtime logs what it raises, in color; the folder of the output need not be there."""
    with pytest.raises(adaptrt.VerificationError, match="Expand") as caught:
        adaptrt.convert("nets.py:Bakes", adapter="torch", shape="x=1..4x3", exporter="torchscript", output="new/b.onnx")
    assert "recorded constants from the example inputs at nets.py:" in (caught.value.hint or "")
    assert "right only for batch = 2, as in the example inputs" in (caught.value.hint or "")
    assert capfd.readouterr() == ("", "")
    assert (folder / "new" / "b.failed.report.json").is_file()


def test_dynamo_names_the_line_that_froze_an_axis(folder: Path) -> None:
    with pytest.raises(adaptrt.ExportError, match="exporter fixed it at 2") as caught:
        adaptrt.convert("nets.py:Bakes", adapter="torch", shape="x=1..4x3", exporter="dynamo")
    assert "(rows = int(x.shape[0]))" in (caught.value.hint or "")


def test_an_output_with_the_name_of_an_input(folder: Path) -> None:
    (folder / "same.py").write_text(
        "from torch import nn\n\nclass Same(nn.Module):\n    def forward(self, x): return {'x': x * 2, 'y': x}\n"
    )
    with pytest.raises(adaptrt.ModelError, match="'x' is the name of both an input and an output") as caught:
        adaptrt.convert("same.py:Same", adapter="torch", shape="x=1..4x3", exporter="torchscript")
    assert 'output_names=["x_out", "y"]' in (caught.value.hint or "")


def test_a_float64_model_that_converts_values_itself_is_named(folder: Path) -> None:
    """Its float32 copy does not run. No patch is at fault: there are none."""
    Path("wide.py").write_text(
        "import torch\n\n\nclass Wide(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.layer = torch.nn.Linear(8, 8).double()\n\n"
        "    def forward(self, x):\n        return self.layer(x.double())\n"
    )
    with pytest.raises(adaptrt.VerificationError, match="Double and Float") as caught:
        adaptrt.convert("wide.py:Wide", adapter="torch", shape="x=1..4x8", verify="quick")
    assert "The model is float64, and its float32 copy is exported" in str(caught.value.hint)
    assert "patch" not in str(caught.value.hint)
    options = {"dtypes": {"x": "float64"}}
    report = adaptrt.convert("wide.py:Wide", adapter="torch", shape="x=1..4x8", verify="quick", options=options)
    assert report.link(2).status == "passed"


def test_parameters_of_two_precisions_are_named(folder: Path) -> None:
    Path("mixed.py").write_text(
        "from torch import nn\n\n\ndef build():\n    return nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4).double())\n"
    )
    with pytest.raises(
        adaptrt.ModelError, match=r"mixed\.py:build has parameters in float32 \(0\.weight ...\) and float64"
    ) as caught:
        adaptrt.convert("mixed.py:build", adapter="torch", shape="x=1..4x8")
    assert caught.value.hint == "Return model.float(), or model.double(), from build."


def test_parameters_of_two_precisions_in_a_program_are_named(folder: Path) -> None:
    """A file returns nothing: it has to be written again."""
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 4).double())
    torch.jit.script(model).save("v.pt")
    with pytest.raises(adaptrt.ModelError, match=r"v\.pt has parameters in float32") as caught:
        adaptrt.convert("v.pt", adapter="torch", shape="x=1..4x8", trust_checkpoint=True)
    assert caught.value.hint == "Save the program again, from model.float() or model.double()."
