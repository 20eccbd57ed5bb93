"""Front ends and opsets, and any model as a function to a flat tuple."""

from __future__ import annotations

import errno
import logging
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="exporters are torch's")
onnx = pytest.importorskip("onnx", reason="exporters write ONNX")

from adaptrt.backends.tensorrt.generations import generation_of  # noqa: E402
from adaptrt.errors import ExportError, ModelError, UsageError  # noqa: E402
from adaptrt.export.choices import choose_exporter, choose_opset  # noqa: E402
from adaptrt.export.eager import EagerRunner  # noqa: E402
from adaptrt.export.torch_onnx import EXPORTER_KEY, export_onnx  # noqa: E402
from adaptrt.export.wrapper import FlatModel, flatten_outputs  # noqa: E402
from adaptrt.specs import Dim, ImageTransform, InputSpec, ModelSpec, OutputSpec  # noqa: E402

nn = torch.nn
ONE = torch.ones(1)


class Pair(NamedTuple):
    logits: Any
    boxes: Any


@pytest.mark.parametrize(
    ("outputs", "names"),
    [
        (ONE, ["output0"]),
        ((ONE, ONE), ["output0", "output1"]),
        ([ONE, None, (ONE,)], ["output0", "output1"]),
        ({"logits": ONE, "boxes": ONE}, ["logits", "boxes"]),
        ({"a": {"b": ONE}, "c": [ONE, ONE]}, ["a.b", "c_1", "c_2"]),
        ((ONE, {"aux": ONE}), ["output0", "aux"]),
        (Pair(ONE, ONE), ["logits", "boxes"]),
        ({0: ONE, 1: ONE}, ["0", "1"]),
    ],
)
def test_outputs_have_names(outputs: Any, names: list[str]) -> None:
    assert list(flatten_outputs(outputs)) == names


@pytest.mark.parametrize("outputs", ["text", 3, object(), (ONE, "text"), {"a": 1.0}])
def test_outputs_that_are_no_tensors(outputs: Any) -> None:
    with pytest.raises(ModelError, match="needs tensors, tuples or dicts") as caught:
        flatten_outputs(outputs)
    assert "load_model" in (caught.value.hint or "")


@pytest.mark.parametrize("outputs", [None, (), {}, [None]])
def test_a_model_that_gives_nothing(outputs: Any) -> None:
    with pytest.raises(ModelError, match="returns no tensor"):
        flatten_outputs(outputs)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)

    def forward(self, images: Any) -> dict[str, Any]:
        features = self.conv(images)
        return {"features": features, "mean": features.mean((2, 3))}


def test_eager_runs_on_arrays_and_gives_copies() -> None:
    net = Net().eval()
    runner = EagerRunner(net, ("a", "b"))
    inputs = {"images": np.random.default_rng(0).random((2, 3, 8, 8)).astype(np.float32).transpose(0, 1, 3, 2)}
    outputs = runner.run(inputs)
    assert {name: array.shape for name, array in outputs.items()} == {"a": (2, 2, 6, 6), "b": (2, 2)}
    first = outputs["b"].copy()
    outputs["b"][:] = 0
    np.testing.assert_array_equal(runner.run(inputs)["b"], first)
    assert list(EagerRunner(net).run(inputs)) == ["features", "mean"]
    runner.close()


def test_a_parameter_as_an_output() -> None:
    net = nn.Linear(2, 1)
    net.forward = lambda x: (x, net.weight)  # type: ignore[method-assign]
    outputs = EagerRunner(net.eval()).run({"x": np.ones((1, 2), np.float32)})
    np.testing.assert_array_equal(outputs["output1"], net.weight.detach().numpy())


def test_a_flat_model_gives_a_tuple() -> None:
    flat = FlatModel(Net()).eval()
    assert [tuple(tensor.shape) for tensor in flat(torch.zeros(1, 3, 8, 8))] == [(1, 2, 6, 6), (1, 2)]


SPEC = ModelSpec((InputSpec.image(8, 8),), outputs=(OutputSpec("features"), OutputSpec("mean")))


def test_who_exports() -> None:
    assert choose_exporter("auto", SPEC, generation_of(10)) == "dynamo"
    assert choose_exporter("auto", SPEC, generation_of(8)) == "torchscript"
    assert choose_exporter("torchscript", SPEC, generation_of(10)) == "torchscript"
    assert choose_exporter("dynamo", SPEC, generation_of(8)) == "dynamo"
    preferring = ModelSpec(SPEC.inputs, exporter="torchscript")
    assert choose_exporter("auto", preferring, generation_of(10)) == "torchscript"


def test_which_opset() -> None:
    assert choose_opset(None, "torchscript", generation_of(8)) == 17
    assert choose_opset(None, "dynamo", generation_of(10)) == 18
    assert choose_opset(13, "torchscript", generation_of(8)) == 13
    assert choose_opset(20, "dynamo", generation_of(11)) == 20
    for asked, exporter, target, hint in (
        (17, "dynamo", 10, "Use --exporter torchscript --opset 17."),
        (18, "torchscript", 8, "Use --opset 17, or another --target."),
        (21, "dynamo", 10, "Use --opset 20, or another --target."),
    ):
        with pytest.raises(UsageError) as caught:
            choose_opset(asked, exporter, generation_of(target))  # type: ignore[arg-type]
        assert caught.value.hint == hint


def exported(tmp_path: Path, spec: ModelSpec, exporter: str, model: Any = None) -> Any:
    path = tmp_path / "net.onnx"
    inputs = {name: torch.rand(shape) for name, shape in spec.trace_shapes.items()}
    export_onnx(model or Net(), inputs, spec, path, exporter=exporter, opset=18 if exporter == "dynamo" else 17)  # type: ignore[arg-type]
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"]  # no weights beside it
    return onnx.load(str(path))


def axes(value: Any) -> list[int | str]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_exactly_the_dynamic_axes_are_symbolic(tmp_path: Path, exporter: str) -> None:
    model = exported(tmp_path, SPEC, exporter)
    (image,) = model.graph.input
    assert (image.name, axes(image)) == ("images", ["batch", 3, 8, 8])
    assert [value.name for value in model.graph.output] == ["features", "mean"]
    assert [axes(value)[0] for value in model.graph.output] == ["batch", "batch"]
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata.get(EXPORTER_KEY) == ("dynamo" if exporter == "dynamo" else None)
    (opset,) = [entry.version for entry in model.opset_import if entry.domain == ""]
    assert opset == (18 if exporter == "dynamo" else 17)


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_a_size_of_a_stride(tmp_path: Path, exporter: str) -> None:
    size = Dim(16, 32, 64, "height"), Dim(16, 32, 64, "width")
    spec = ModelSpec(
        (InputSpec("images", ((Dim.fixed(1), Dim.fixed(3), *size),)),),
        outputs=SPEC.outputs,
        image=ImageTransform(stride=16),
    )
    model = exported(tmp_path, spec, exporter)
    found = axes(model.graph.input[0])
    assert found[:2] == [1, 3]
    assert all(isinstance(size, str) for size in found[2:])


def test_the_mode_of_the_model_is_evaluation(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Dropout(), nn.BatchNorm2d(2)).train()
    model = exported(tmp_path, ModelSpec(SPEC.inputs, outputs=(OutputSpec("y"),)), "torchscript", net)
    assert "Dropout" not in [node.op_type for node in model.graph.node]


class Unexportable(nn.Module):
    def forward(self, images: Any) -> Any:
        return torch.linalg.eigvals(images).real


def test_what_cannot_be_exported_is_one_line_and_a_next_step(tmp_path: Path) -> None:
    spec = ModelSpec((InputSpec.image(8, 8),), outputs=(OutputSpec("y"),))
    with pytest.raises(ExportError) as caught:
        exported(tmp_path, spec, "torchscript", Unexportable())
    assert caught.value.message.startswith("torch.onnx.export (torchscript, opset 17) failed: ")
    assert "\n" not in caught.value.message
    assert (caught.value.hint or "").startswith("Try --exporter dynamo")


def test_torchscript_has_no_other_exporter(tmp_path: Path) -> None:
    spec = ModelSpec((InputSpec.image(8, 8),), outputs=(OutputSpec("y"),))
    with pytest.raises(ExportError) as caught:
        exported(tmp_path, spec, "torchscript", torch.jit.trace(Unexportable(), torch.rand(1, 3, 8, 8)))
    assert "export the original Python module" in (caught.value.hint or "")
    assert "--exporter" not in (caught.value.hint or "")


def test_a_full_disk_is_not_the_exporters_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **options: Any) -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise RuntimeError("export failed") from error

    monkeypatch.setattr(torch.onnx, "export", full)
    with pytest.raises(OSError, match="No space left"):
        exported(tmp_path, SPEC, "torchscript")


def test_exporters_are_kept_quiet_and_logging_comes_back(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    exported(tmp_path, SPEC, "torchscript")
    assert capfd.readouterr().out == ""
    assert not recwarn.list
    assert logger.level == level
    assert sys.stdout is not None


def test_long_messages_of_torch_are_cut(tmp_path: Path) -> None:
    class Long(nn.Module):
        def forward(self, x: Any) -> Any:
            raise ValueError("no: " + "4*Min(300, u0) + " * 100)

    spec = ModelSpec((InputSpec("x", ((Dim.fixed(1), Dim.fixed(4)),)),))
    with pytest.raises(ExportError, match=r"ValueError: no: 4\*Min") as caught:
        export_onnx(Long(), {"x": torch.ones(1, 4)}, spec, tmp_path / "x.onnx", exporter="torchscript", opset=17)
    assert caught.value.message.endswith(" ...")
    assert len(caught.value.message) < 600
