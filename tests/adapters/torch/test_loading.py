"""From what the user names to a module: objects, factories, weights, programs."""

from __future__ import annotations

import importlib
import sys
from argparse import Namespace
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, Optional

import pytest
import torch

from adaptrt import AdaptrtError, CheckpointError, ModelError, UsageError
from adaptrt_torch.calling import ByName
from adaptrt_torch.describing import describe
from adaptrt_torch.loading import load
from adaptrt_torch.sources import find_object, importable

Make = Callable[..., Any]
IMAGE = ("images=1x3x8x8",)


@pytest.mark.parametrize("source", ["nets.py:ImageArray", "nets.py:build", "nets.py:Space.ready"])
def test_class_factory_object(conversion: Make, source: str) -> None:
    options = {} if source.endswith("ready") else {"kwargs": {"classes": 2}}
    model = load(conversion(source, IMAGE, options=options))
    assert not model.training
    assert model(torch.zeros(1, 3, 8, 8)).shape == (1, 2)


def test_a_module_of_the_current_folder(conversion: Make, folder: Path) -> None:
    (folder / "shop_of_nets.py").write_text((folder / "nets.py").read_text())
    try:
        assert load(conversion("shop_of_nets:ImageArray", IMAGE))
    finally:
        sys.modules.pop("shop_of_nets", None)
    assert str(folder) not in sys.path


def test_a_file_is_read_anew(conversion: Make, folder: Path) -> None:
    load(conversion("nets.py:ImageArray", IMAGE))
    (folder / "nets.py").write_text("from torch import nn\nImageArray = nn.Identity\n")
    assert type(load(conversion("nets.py:ImageArray", IMAGE))) is torch.nn.Identity


def test_random_weights_depend_on_the_seed_alone(conversion: Make) -> None:
    first, second, other = (load(conversion("nets.py:ImageArray", IMAGE, seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(first.head.weight, second.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)


@pytest.mark.parametrize(
    ("source", "message", "hint"),
    [
        ("nets.py:ImageArra", "has no 'ImageArra'", "Did you mean 'ImageArray'?"),
        ("net.py:ImageArray", "File not found: net.py", "Did you mean 'nets.py'?"),
        ("nets.py", "nets.py does not say which object to convert", "nets.py:Net"),
        ("nothing_here:Net", "No module named 'nothing_here'", "Install its package"),
        ("torhc.nn:Linear", "No module named 'torhc'", "Did you mean 'torch'?"),
        ("justaname", "must have the form", "net.py:Net"),
        ("nets.py:number", "got int", "returns only the module"),
        ("nets.py:build", "missing a required argument: 'classes'", "build(classes)"),
        ("nets.py:NETS_HAVE_NO_SUCH", "has no", ""),
        ("best.pt", "File not found: best.pt", ""),
    ],
)
def test_wrong_sources(conversion: Make, source: str, message: str, hint: str) -> None:
    with pytest.raises(AdaptrtError) as caught:
        load(conversion(source, IMAGE))
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")


def test_wrong_keywords_are_answered_with_the_right_ones(conversion: Make) -> None:
    with pytest.raises(ModelError) as caught:
        load(conversion("nets.py:ImageArray", IMAGE, options={"kwargs": {"clases": 2}}))
    assert "Did you mean 'classes'?" in (caught.value.hint or "")


def test_a_module_that_needs_another(folder: Path) -> None:
    (folder / "needy.py").write_text("import a_package_nobody_has\n")
    with importable("needy:Net"), pytest.raises(ModelError, match="needy needs a_package_nobody_has"):
        find_object("needy:Net")


def test_nothing_is_downloaded(conversion: Make) -> None:
    original = torch.hub.download_url_to_file
    with pytest.raises(ModelError, match="tries to download"):
        load(conversion("nets.py:fetch", IMAGE))
    assert torch.hub.download_url_to_file is original
    assert load(conversion("nets.py:fetch", IMAGE, options={"kwargs": {"weights": False}}))


class TestWeights:
    @pytest.fixture
    def trained(self, conversion: Make) -> Any:
        return load(conversion("nets.py:ImageArray", IMAGE, seed=9))

    @pytest.mark.parametrize("nesting", ["plain", "state_dict", "ema", "half", "safetensors"])
    def test_usual_nestings(self, conversion: Make, folder: Path, trained: Any, nesting: str) -> None:
        state = trained.state_dict()
        path = folder / f"net.{'safetensors' if nesting == 'safetensors' else 'pth'}"
        if nesting == "safetensors":
            pytest.importorskip("safetensors.torch", reason="needs safetensors").save_file(state, path)
        elif nesting == "half":
            torch.save({"model": {f"module.{name}": tensor.half() for name, tensor in state.items()}}, path)
        else:
            torch.save(state if nesting == "plain" else {"epoch": 3, nesting: state}, path)
        model = load(conversion("nets.py:ImageArray", IMAGE, weights=path))
        for name, tensor in model.state_dict().items():
            torch.testing.assert_close(tensor, state[name], rtol=1e-3, atol=1e-3)
            assert tensor.dtype == torch.float32

    def test_under_the_prefix_of_a_lightning_module(self, conversion: Make, folder: Path, trained: Any) -> None:
        state = {f"model.{name}": tensor for name, tensor in trained.state_dict().items()}
        torch.save({"state_dict": {**state, "loss.weight": torch.ones(2)}, "hyper_parameters": {}}, folder / "l.ckpt")
        ctx = conversion("nets.py:ImageArray", IMAGE, weights=folder / "l.ckpt")
        assert torch.equal(load(ctx).head.weight, trained.head.weight)
        assert "prefix model. are loaded; 1 others (loss.weight)" in ctx.notes[0]

    def test_one_of_several_networks(self, conversion: Make, folder: Path, trained: Any) -> None:
        state = trained.state_dict()
        other = {name: tensor + 1 for name, tensor in state.items()}
        torch.save({"student": state, "teacher": other}, folder / "two.pth")
        with pytest.raises(CheckpointError, match=r"2 times, with prefixes student\., teacher\.") as caught:
            load(conversion("nets.py:ImageArray", IMAGE, weights=folder / "two.pth"))
        assert "--set prefix=student." in (caught.value.hint or "")
        ctx = conversion("nets.py:ImageArray", IMAGE, weights=folder / "two.pth", options={"prefix": "teacher"})
        assert torch.equal(load(ctx).head.weight, other["head.weight"])
        with pytest.raises(CheckpointError, match="no tensors with the prefix techer") as caught:
            load(conversion("nets.py:ImageArray", IMAGE, weights=folder / "two.pth", options={"prefix": "techer"}))
        assert "Did you mean 'teacher'?" in (caught.value.hint or "")

    def test_beside_the_arguments_of_a_training_script(self, conversion: Make, folder: Path, trained: Any) -> None:
        torch.save({"model": trained.state_dict(), "args": Namespace(lr=0.1)}, folder / "args.pth")
        model = load(conversion("nets.py:ImageArray", IMAGE, weights=folder / "args.pth"))
        assert torch.equal(model.head.weight, trained.head.weight)

    def test_a_whole_network(self, conversion: Make, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Pickled as ``torch.save(model)`` does: its tensors are read, its class is not."""
        monkeypatch.syspath_prepend(str(folder))
        (folder / "whole_nets.py").write_text((folder / "nets.py").read_text())
        net = importlib.import_module("whole_nets").ImageArray()
        torch.save({"model": net, "epoch": 1}, folder / "whole.pth")
        del sys.modules["whole_nets"]
        model = load(conversion("whole_nets.py:ImageArray", IMAGE, weights=folder / "whole.pth"))
        assert torch.equal(model.head.weight, net.head.weight)
        assert "whole_nets" not in sys.modules

    def test_trusted_ones_are_unpickled(self, conversion: Make, folder: Path, trained: Any) -> None:
        torch.save({"model": trained.state_dict(), "when": Fraction(1, 2)}, folder / "odd.pth")
        with pytest.raises(CheckpointError, match=r"fractions\.Fraction") as caught:
            load(conversion("nets.py:ImageArray", IMAGE, weights=folder / "odd.pth"))
        assert "--trust-checkpoint" in (caught.value.hint or "")
        model = load(conversion("nets.py:ImageArray", IMAGE, weights=folder / "odd.pth", trust_checkpoint=True))
        assert torch.equal(model.head.weight, trained.head.weight)
        (folder / "text.pth").write_text("no weights")
        with pytest.raises(CheckpointError, match="a text file"):
            load(conversion("nets.py:ImageArray", IMAGE, weights=folder / "text.pth", trust_checkpoint=True))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda state: state.pop("head.bias"), "it lacks head.bias"),
            (lambda state: state.update(extra=torch.zeros(1)), "it has unused extra"),
            (lambda state: state.update({"head.weight": torch.zeros(9, 8)}), r"head.weight is \[9, 8\] in the file"),
            (lambda state: state.clear() or state.update(a=torch.zeros(1)), "no tensor of the network"),
        ],
    )
    def test_that_do_not_fit(
        self, conversion: Make, folder: Path, trained: Any, change: Callable[[Any], Any], message: str
    ) -> None:
        state = dict(trained.state_dict())
        change(state)
        torch.save(state, folder / "net.pth")
        with pytest.raises(CheckpointError, match=message):
            load(conversion("nets.py:ImageArray", IMAGE, weights=folder / "net.pth"))

    def test_not_strict_leaves_a_note(self, conversion: Make, folder: Path, trained: Any) -> None:
        state = dict(trained.state_dict(), extra=torch.zeros(1))
        torch.save(state, folder / "net.pth")
        ctx = conversion("nets.py:ImageArray", IMAGE, weights=folder / "net.pth", options={"strict": False})
        load(ctx)
        assert "extra" in ctx.notes[0]

    def test_weights_alone_are_no_model(self, conversion: Make, folder: Path, trained: Any) -> None:
        torch.save(trained.state_dict(), folder / "net.pth")
        with pytest.raises(ModelError, match="contains no program") as caught:
            load(conversion("net.pth", IMAGE))
        assert "--weights net.pth" in (caught.value.hint or "")

    @pytest.mark.parametrize(
        ("name", "keep", "message"),
        [("net.pt", 0.6, "truncated or damaged"), ("net.pt", 0.0, "is empty"), ("net.onnx", 1.0, "is an ONNX file")],
        ids=["cut", "empty", "onnx"],
    )
    def test_what_is_no_weights_either(
        self, conversion: Make, folder: Path, trained: Any, name: str, keep: float, message: str
    ) -> None:
        path = folder / name
        if path.suffix == ".onnx":
            path.write_bytes(b"\x08\x0a\x12\x07pytorch" + bytes(200))
        else:
            torch.save(trained.state_dict(), path)
        path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
        with pytest.raises(CheckpointError, match=message) as caught:
            load(conversion(name, IMAGE))
        assert "--weights" not in (caught.value.hint or "")

    def test_labels_are_read_once_before_the_model(self, conversion: Make, folder: Path) -> None:
        with pytest.raises(UsageError, match="nofile.txt cannot be read"):
            conversion("nets.py:ImageArray", IMAGE, options={"labels": "nofile.txt"})
        (folder / "labels.txt").write_text("a\nb\n")
        ctx = conversion("nets.py:ImageArray", IMAGE, options={"labels": "labels.txt"})
        (folder / "labels.txt").unlink()
        assert describe(ctx, load(ctx)).labels == ("a", "b")


class TestInputs:
    def test_by_the_models_own_names(self, conversion: Make) -> None:
        model = load(conversion("nets.py:Tokens", ("ids=1x2", "x=1x2x6")))
        assert not isinstance(model, ByName)  # x, ids are its first two
        assert set(model(torch.zeros(1, 2, 6), torch.zeros(1, 2, dtype=torch.int64))) == {"tokens", "logits", "answer"}

    def test_inside_dicts_and_tuples(self, conversion: Make) -> None:
        names = ("pair.1", "batch.extra", "batch.image", "pair.0")
        model = load(conversion("nets.py:Nested", tuple(f"{name}=1x2" for name in names)))
        assert isinstance(model, ByName)
        values = {"batch.image": 1.0, "batch.extra": 10.0, "pair.0": 100.0, "pair.1": 1000.0}
        result = model(*(torch.full((1, 2), values[name]) for name in model.names))
        assert result.tolist() == [[2 + 10 + 100 - 1000] * 2]

    @pytest.mark.parametrize(
        ("source", "shape", "message"),
        [
            ("nets.py:Tokens", ("x=1x2x6",), "also needs ids"),
            ("nets.py:Tokens", ("x=1x2x6", "idz=1x2"), "no input 'idz'"),
            ("nets.py:Tokens", ("a=1x2x6",), "takes 2 inputs, but --shape has 1"),
            ("nets.py:ImageArray", ("a=1x2", "b=1x2"), "takes 1 inputs, but --shape has 2"),
        ],
    )
    def test_that_the_model_does_not_take(
        self, conversion: Make, source: str, shape: tuple[str, ...], message: str
    ) -> None:
        with pytest.raises(ModelError, match=message):
            load(conversion(source, shape))


class TestPrograms:
    @pytest.fixture
    def script(self, folder: Path) -> Path:
        with importable("nets.py:Vector"):
            torch.jit.script(find_object("nets.py:Vector")().eval()).save(str(folder / "s.pt"))
        return folder / "s.pt"

    def test_need_the_users_word(self, conversion: Make, script: Path) -> None:
        with pytest.raises(CheckpointError, match="is a program: loading it") as caught:
            load(conversion(script.name))
        assert "--trust-checkpoint" in (caught.value.hint or "")

    def test_take_no_arguments_and_no_weights(self, conversion: Make, script: Path) -> None:
        with pytest.raises(UsageError, match="args and kwargs do not apply"):
            load(conversion(script.name, options={"kwargs": {"a": 1}}, trust_checkpoint=True))
        with pytest.raises(UsageError, match="already contains its weights"):
            load(conversion(script.name, weights=script, trust_checkpoint=True))

    def test_defaults_of_inputs_are_kept(self, conversion: Make, folder: Path) -> None:
        class Scaled(torch.nn.Module):
            def forward(self, x: torch.Tensor, scale: Optional[torch.Tensor] = None) -> torch.Tensor:  # noqa: UP045
                return x if scale is None else x * scale

        torch.jit.script(Scaled()).save(str(folder / "d.pt"))
        assert load(conversion("d.pt", ("x=1..4x2",), trust_checkpoint=True))(torch.ones(1, 2)).tolist() == [[1, 1]]
        with pytest.raises(ModelError, match="also needs x"):
            load(conversion("d.pt", ("scale=1",), trust_checkpoint=True))

    def test_that_are_damaged(self, conversion: Make, script: Path) -> None:
        import zipfile

        with zipfile.ZipFile(script.with_name("bad.pt2"), "w") as archive:
            archive.writestr("bad/archive_format", "pt2")
        with pytest.raises(ModelError, match="cannot be loaded"):
            load(conversion("bad.pt2", trust_checkpoint=True))
