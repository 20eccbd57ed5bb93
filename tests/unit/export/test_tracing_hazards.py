"""Where Python turns a tensor into a number while it is traced: found with file and line, and only where it matters."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from patience import HANG

torch = pytest.importorskip("torch", reason="what is traced is torch's")
pytest.importorskip("onnx", reason="exporters write ONNX")

from torch import nn  # noqa: E402

from adaptrt import Dim, ExportError, InputSpec, ModelError, ModelSpec, OutputSpec  # noqa: E402
from adaptrt.export.eager import EagerRunner  # noqa: E402
from adaptrt.export.torch_onnx import export_onnx  # noqa: E402
from adaptrt.export.tracing_hazards import recording  # noqa: E402
from adaptrt.graph.lint.source_locations import at  # noqa: E402
from adaptrt.report import Finding  # noqa: E402

B, N, FOUR = Dim(1, 2, 4, "batch"), Dim(2, 4, 8, "n"), Dim.fixed(4)


class Decides(nn.Module):
    def forward(self, x: Any) -> Any:
        if x.sum() > 0:
            x = x * 2
        return x


class Reads(nn.Module):
    def forward(self, x: Any) -> Any:
        return x.reshape(-1, int(x.shape[1]) * int(x.shape[2]))


class CountsBatch(nn.Module):
    def forward(self, x: Any) -> Any:
        for index in range(x.shape[0]):
            x = x + index
        return x


class Item(nn.Module):
    def forward(self, x: Any) -> Any:
        return x * x.mean().item()


class Picks(nn.Module):
    """A list indexed by a tensor, inside torch's own container."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList([nn.Identity(), nn.Tanh()])

    def forward(self, x: Any) -> Any:
        return self.heads[x.sum().long() % 2](x)


class Bakes(nn.Module):
    def forward(self, x: Any) -> Any:
        return x.reshape(int(x.shape[0]), -1)


class Adds(nn.Module):
    """Nothing is converted here, and the batch is 2 all the same."""

    def forward(self, x: Any) -> Any:
        return x + torch.ones(2, 4, 4)


class Compares(nn.Module):
    def forward(self, x: Any) -> Any:
        if x.shape[1] > 3:
            x = x * 2
        return x


class Asks(nn.Module):
    """For what is true of every size."""

    def forward(self, x: Any) -> Any:
        if x.shape[1] >= 2:
            x = x * 2
        return x


class Weighs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("times", torch.tensor(2))

    def forward(self, x: Any) -> Any:
        for _ in range(int(self.times)):
            x = x + 1
        return x


class Tells(nn.Module):
    """Text for a message that nobody reads."""

    def forward(self, x: Any) -> Any:
        torch._assert(x.dim() == 3, f"got {x.shape}, in all {x.sum()}")
        return x * 2


class ShapeTells(nn.Module):
    def forward(self, x: Any) -> Any:
        torch._assert(x.dim() == 3, f"got {x.shape}, {x.shape[1]}")
        return x * 2


class Constant(nn.Module):
    def forward(self, x: Any) -> Any:
        return x + torch.tensor([1.0, 2.0, 3.0, 4.0]) * torch.from_numpy(np.ones(4, np.float32))


def findings(net: nn.Module, path: Path, middle: Dim = FOUR, exporter: Any = "torchscript") -> list[Finding]:
    spec = ModelSpec(inputs=(InputSpec("x", ((B, middle, FOUR),)),), outputs=(OutputSpec("y"),))
    x = torch.ones(2, 4, 4)
    opset = 17 if exporter == "torchscript" else 18
    hazards = export_onnx(net.eval(), {"x": x}, spec, path / "x.onnx", exporter=exporter, opset=opset)
    return hazards.findings(at)


@pytest.mark.parametrize(
    ("net", "rule", "how", "code"),
    [
        (Decides, "traced-value", "a condition", "if x.sum() > 0:"),
        (Picks, "traced-value", "an index or a range", "return self.heads[x.sum().long() % 2](x)"),
        (Item, "traced-value", ".item()", "return x * x.mean().item()"),
        (CountsBatch, "traced-size", "an index or a range", "for index in range(x.shape[0]):"),
    ],
)
def test_hazards_are_found_with_their_line(
    net: type[nn.Module], rule: str, how: str, code: str, tmp_path: Path
) -> None:
    (finding,) = findings(net(), tmp_path)
    assert (finding.rule, finding.severity) == (rule, "warning")
    assert how in finding.message
    (place,) = finding.places
    assert place.file.endswith("test_tracing_hazards.py")
    assert place.code == code
    assert finding.advice


def test_sizes_of_fixed_axes_are_what_the_rules_ask_for(tmp_path: Path) -> None:
    assert findings(Reads(), tmp_path) == []
    (finding,) = findings(Reads(), tmp_path, N)
    assert (finding.rule, finding.count) == ("traced-size", 2)


def test_numbers_out_of_weights_are_constants(tmp_path: Path) -> None:
    assert findings(Weighs(), tmp_path) == []


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_text_is_no_number(tmp_path: Path, exporter: str) -> None:
    net = Tells() if exporter == "torchscript" else nn.Sequential(nn.Identity(), ShapeTells())
    assert findings(net, tmp_path, N, exporter) == []


def test_constants_made_of_numbers_are_none(tmp_path: Path) -> None:
    assert findings(Constant(), tmp_path) == []


def test_everything_is_as_before_afterwards(tmp_path: Path) -> None:
    before = [getattr(torch.Tensor, name) for name in ("__bool__", "__int__", "item")], torch._C._jit_onnx_log
    findings(Decides(), tmp_path)
    assert ([getattr(torch.Tensor, name) for name in ("__bool__", "__int__", "item")], torch._C._jit_onnx_log) == before


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    findings(Decides(), tmp_path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("net", "middle", "how", "code"),
    [
        (Bakes, FOUR, "int()", "return x.reshape(int(x.shape[0]), -1)"),
        (CountsBatch, FOUR, "an index or a range", "for index in range(x.shape[0]):"),
        (Adds, FOUR, "the graph", "return x + torch.ones(2, 4, 4)"),
        (Compares, N, "a condition", "if x.shape[1] > 3:"),
    ],
)
def test_dynamo_freezes_sizes_silently(net: type[nn.Module], middle: Dim, how: str, code: str, tmp_path: Path) -> None:
    (finding,) = findings(net(), tmp_path, middle, "dynamo")
    assert (finding.rule, finding.severity) == ("traced-size", "warning")
    assert how in finding.message
    assert [(place.file.rpartition("/")[2], place.code) for place in finding.places] == [
        ("test_tracing_hazards.py", code)
    ]


def test_questions_that_have_one_answer_are_none(tmp_path: Path) -> None:
    assert findings(Asks(), tmp_path, N, "dynamo") == []


@pytest.mark.parametrize("exporter", ["torchscript", pytest.param("dynamo", marks=pytest.mark.full)])
def test_attention_of_torch_is_exported_and_its_own_checks_are_no_hazards(tmp_path: Path, exporter: str) -> None:
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    assert findings(layer, tmp_path, N, exporter) == []
    assert torch.backends.mha.get_fastpath_enabled()


def test_programs_contain_checks(tmp_path: Path) -> None:
    batch = torch.export.Dim("batch", min=1, max=4)
    program = torch.export.export(Asks().eval(), (torch.ones(2, 4, 4),), dynamic_shapes=({0: batch},))
    spec = ModelSpec(inputs=(InputSpec("x", ((B, FOUR, FOUR),)),), outputs=(OutputSpec("y"),))
    module = program.module()
    module.train = lambda _=True: module  # type: ignore[method-assign,assignment]  # programs refuse it
    for part in module.modules():
        part.training = False
    x = {"x": torch.ones(2, 4, 4)}
    assert export_onnx(module, x, spec, tmp_path / "x.onnx", exporter="torchscript", opset=17).findings(at) == []


def test_as_many_outputs_as_there_are_samples(tmp_path: Path) -> None:
    class PerSample(nn.Module):
        def forward(self, x: Any) -> Any:
            return list(x)

    with pytest.raises(ModelError, match="returns 2 outputs for a batch of 2, and 1 for another"):
        findings(PerSample(), tmp_path)
    with pytest.raises(ModelError, match="returns 3 outputs for a batch of 3, and 1 for another"):
        EagerRunner(PerSample(), ("y",)).run({"x": np.ones((3, 4, 4), np.float32)})


def test_dynamo_fails_at_the_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    spec = ModelSpec(inputs=(InputSpec("x", ((B, FOUR, FOUR),)),), outputs=(OutputSpec("y"),))
    with pytest.raises(ExportError) as caught:
        export_onnx(Decides(), {"x": torch.ones(2, 4, 4)}, spec, tmp_path / "x.onnx", exporter="dynamo", opset=18)
    assert "test_tracing_hazards.py:" in caught.value.message
    assert "(if x.sum() > 0:)" in caught.value.message
    assert "torch.where" in (caught.value.hint or "")


def test_other_threads_use_torch_meanwhile() -> None:
    """What they take out of tensors is not the model's, and hides nothing of it."""
    from adaptrt.export.conversions import watching_conversions

    noted: list[str] = []

    def elsewhere() -> None:
        thread = threading.Thread(target=lambda: [int(torch.tensor(3)), torch.tensor([torch.tensor(2.0)])])
        thread.start()
        thread.join(HANG)

    with watching_conversions(lambda tensor, how, frame, result, axis: noted.append(how)):
        elsewhere()
        assert int(torch.tensor(4)) == 4
    assert noted == ["int()"]


@torch.jit.script_if_tracing
def in_script(x: torch.Tensor) -> torch.Tensor:
    first, second = torch.chunk(x, 2, 1)
    return torch.cat([first + torch.tensor([1.0]), torch.unbind(second, 0)[0][None].expand_as(second)], 1)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.stack(torch.unbind(input=x, dim=1)),
        lambda x: torch.cat(torch.chunk(input=x, chunks=2, dim=-1)),
        lambda x: torch.cat(torch.split(tensor=x, split_size_or_sections=2, dim=1)),
        lambda x: torch.cat(torch.tensor_split(x, sections=2, dim=2)),
        lambda x: torch.stack(x.unbind(axis=1)) if torch.equal(input=torch.ones(1), other=torch.ones(1)) else x,
        lambda x: torch.cat(x[:, :0].split(2, dim=1)).flatten(1),
        in_script,
    ],
)
def test_torch_functions_that_are_watched_take_every_call(function: Any) -> None:
    class Calls(nn.Module):
        def forward(self, x: Any) -> Any:
            return function(x)

    spec = ModelSpec(inputs=(InputSpec("x", ((B, FOUR, FOUR),)),), outputs=(OutputSpec("y"),))
    table = len(torch.jit._builtins._get_builtin_table())
    with recording(spec, [torch.ones(2, 4, 4)]) as hazards:
        torch.jit.trace(Calls(), (torch.ones(2, 4, 4),), check_trace=False)
    assert [one for one in hazards.hazards if one.rule != "traced-size"] == []
    assert len(torch.jit._builtins._get_builtin_table()) == table


def test_iteration_is_reported_once_at_the_line_of_the_model() -> None:
    class Heads(nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.stack([one * 2 for one in x])

    spec = ModelSpec(inputs=(InputSpec("x", ((B, FOUR, FOUR),)),), outputs=(OutputSpec("y"),))
    with recording(spec, [torch.ones(2, 4, 4)]) as hazards:
        torch.jit.trace(Heads(), (torch.ones(2, 4, 4),), check_trace=False)
    assert [(one.rule, Path(one.file).name, count) for one, count in hazards.hazards.items()] == [
        ("trace-warning", Path(__file__).name, 1)
    ]
