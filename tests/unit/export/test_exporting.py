"""The default export: which exporter is tried, and that a bad export is not charged to a graph pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="what is exported is torch's")
onnx = pytest.importorskip("onnx", reason="exporters write ONNX")
pytest.importorskip("onnxruntime", reason="the export is loaded in it")

import onnx_ir as ir  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from torch import nn  # noqa: E402

from adaptrt import Conversion, Dim, InputSpec, ModelSpec, OutputSpec  # noqa: E402
from adaptrt.backends.onnxruntime.exported import require_valid  # noqa: E402
from adaptrt.backends.tensorrt.generations import generation_of  # noqa: E402
from adaptrt.builtins import exporting  # noqa: E402
from adaptrt.errors import ExportError, ModelError  # noqa: E402
from adaptrt.request import Request  # noqa: E402

SPEC = ModelSpec(
    inputs=(InputSpec("x", ((Dim(1, 2, 4, "batch"), Dim.fixed(3), Dim.fixed(8), Dim(4, 8, 16, "width")),)),),
    outputs=(OutputSpec("y"),),
)


def conversion(folder: Path, warnings: list[str] | None = None, **request: Any) -> Conversion:
    return Conversion(
        Request("net", "torch", **request),
        None,
        folder,
        warn=(warnings if warnings is not None else []).append,
        samples=({"x": np.ones((1, 3, 8, 8), np.float32)},),
    )


def export(ctx: Conversion, net: Any) -> Any:
    return onnx.load(exporting.export(ctx, net.eval(), {"x": torch.rand(2, 3, 8, 8)}, SPEC))


def failing(names: set[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """These exporters fail; the list has what was tried."""
    real, tried = exporting.export_onnx, []

    def export_onnx(*args: Any, exporter: str, tried: Any, **options: Any) -> Any:
        seen.append(exporter)
        if exporter in names:
            other = "torchscript" if exporter == "dynamo" else "dynamo"
            raise ExportError(f"{exporter} fails.", hint=f"Try --exporter {other}." if other not in tried else "No.")
        return real(*args, exporter=exporter, tried=tried, **options)

    seen = tried
    monkeypatch.setattr(exporting, "export_onnx", export_onnx)
    return seen


def test_auto_tries_the_other_exporter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried, warnings = failing({"dynamo"}, monkeypatch), []
    ctx = conversion(tmp_path, warnings, target="10")
    assert export(ctx, nn.ReLU()).graph.node[0].op_type == "Relu"
    assert tried == ["dynamo", "torchscript"]
    assert warnings == ["dynamo fails. Exporting with torchscript instead."]
    assert ctx.failed_exporters == ["dynamo"]


def test_no_hint_names_an_exporter_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing({"dynamo", "torchscript"}, monkeypatch)
    with pytest.raises(ExportError, match="dynamo fails. The other exporter also fails: torchscript fails.") as caught:
        export(conversion(tmp_path, target="10"), nn.ReLU())
    assert "--exporter" not in (caught.value.hint or "")
    with pytest.raises(ExportError, match="^dynamo fails") as caught:
        export(conversion(tmp_path, exporter="dynamo"), nn.ReLU())
    assert caught.value.hint == "Try --exporter torchscript."


def test_the_hint_that_helps_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, better = (
        ExportError("a", hint="Show the traceback.", general_hint=True),
        ExportError("b", hint="Use --opset 19."),
    )
    failures = iter((plain, better))

    def export_onnx(*_: Any, **__: Any) -> Any:
        raise next(failures)

    monkeypatch.setattr(exporting, "export_onnx", export_onnx)
    with pytest.raises(ExportError) as caught:
        export(conversion(tmp_path, target="10"), nn.ReLU())
    assert caught.value.hint == "Use --opset 19."


def test_what_dynamo_cannot_take_is_not_tried_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = failing({"torchscript"}, monkeypatch)
    scripted = torch.jit.trace(nn.ReLU(), torch.rand(2, 3, 8, 8))
    with pytest.raises(ExportError):
        export(conversion(tmp_path, target="8"), scripted)
    assert tried == ["torchscript"]
    tried.clear()
    with pytest.raises(ExportError):  # dynamo does not write opset 17
        export(conversion(tmp_path, target="8", opset=17), nn.ReLU())
    assert tried == ["torchscript"]


class Autocast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)

    def forward(self, x: Any) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.conv(x)


def test_autocast_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"computes in bfloat16 \(.*test_exporting.py:\d+") as caught:
        export(conversion(tmp_path, exporter="torchscript"), Autocast())
    assert "torch.autocast" in (caught.value.hint or "")
    assert caught.value.exit_code == 6


@pytest.mark.parametrize("size", [(1, None), (None, 1)])
def test_adaptive_pools_of_an_unknown_size(size: Any, tmp_path: Path) -> None:
    import onnxruntime

    pool = nn.AdaptiveAvgPool2d(size)
    model = export(conversion(tmp_path, exporter="torchscript"), pool)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for width in (4, 7, 16):
        x = np.random.default_rng(0).random((3, 3, 8, width), np.float32)
        (found,) = session.run(None, {"x": x})
        np.testing.assert_allclose(found, pool(torch.from_numpy(x)).numpy(), atol=1e-6)


def graph(operator: str, inputs: list[Any], opset: int, **attributes: Any) -> tuple[ir.Model, Any]:
    """A model of one node; what is not an array is the shape of an input."""
    names = [f"i{index}" for index in range(len(inputs))]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, value)
        for name, value in zip(names, inputs, strict=True)
        if not isinstance(value, np.ndarray)
    ]
    constants = [
        numpy_helper.from_array(value, name)
        for name, value in zip(names, inputs, strict=True)
        if isinstance(value, np.ndarray)
    ]
    node = helper.make_node(operator, names, ["y"], **attributes)
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, list("abcd"))
    proto = helper.make_model(
        helper.make_graph([node], "g", values, [result], constants),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=9,
    )
    return ir.from_proto(proto), proto


PAD = ("Pad", [[1, 2, 4, 4], np.array([0, 0, 1, 1, 0, 0, 1, 1])])
DEFORM = ("DeformConv", [[1, 2, 5, 5], np.ones((2, 2, 3, 3), np.float32), [1, 18, 3, 3]])


@pytest.mark.parametrize(
    ("node", "opset", "attributes", "said", "hints"),
    [
        (PAD, 17, {"mode": "wrap"}, "Pad with mode wrap requires opset 19 or later", {10: "--opset 19", 8: "another --target"}),
        (DEFORM, 18, {"kernel_shape": [3, 3]}, "No Op registered for DeformConv|DeformConv only from opset 19", {}),
        (PAD, 19, {"mode": "wrap"}, "", {}),
    ],
)  # fmt: skip
def test_forms_and_their_opsets(
    node: Any, opset: int, attributes: Any, said: str, hints: dict[int, str], tmp_path: Path
) -> None:
    model, proto = graph(*node, opset, **attributes)
    path = tmp_path / "exported.onnx"
    onnx.save(proto, str(path))
    for target in (8, 10):
        if not said:
            require_valid(model, path, Request("net", "torch"), generation_of(target))
            continue
        with pytest.raises(ExportError, match=said) as caught:
            require_valid(model, path, Request("net", "torch"), generation_of(target))
        assert hints.get(target, "") in (caught.value.hint or "")


def test_an_older_onnx_runtime_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The opset is right: what lacks the operator is the installed version."""

    def lacks(*args: Any, **kwargs: Any) -> None:
        raise ModelError("exported.onnx: Could not find an implementation for DeformConv(19) node.")

    monkeypatch.setattr("adaptrt.backends.onnxruntime.runner.OnnxRuntimeRunner", lacks)
    model, proto = graph(*DEFORM, 19, kernel_shape=[3, 3])
    onnx.save(proto, str(tmp_path / "exported.onnx"))
    with pytest.raises(ExportError, match="installed ONNX Runtime .* cannot run DeformConv") as caught:
        require_valid(model, tmp_path / "exported.onnx", Request("net", "torch"), generation_of(10))
    assert "Update" in (caught.value.hint or "")


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(3, 4, bidirectional=True, batch_first=True)

    def forward(self, x: Any) -> Any:
        return self.rnn(x.mean(2).transpose(1, 2))[0]


def test_recurrent_layers_over_a_dynamic_length_go_to_torchscript_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dynamo unrolls them, with symbols for each step: it fails after minutes."""
    seen = failing(set(), monkeypatch)
    export(conversion(tmp_path), Recurrent())
    assert seen == ["torchscript"]
