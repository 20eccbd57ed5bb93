"""State dicts, wherever a file keeps them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="checkpoints are read into torch tensors")

from adaptrt.checkpoint import InertObject, read_checkpoint, read_state_dict, tensors_of  # noqa: E402
from adaptrt.errors import CheckpointError  # noqa: E402

Save = Callable[..., Path]
WEIGHTS = {"conv.weight": torch.ones(2), "conv.bias": torch.zeros(2)}
OTHER = {"conv.weight": torch.full((2,), 7.0), "conv.bias": torch.zeros(2)}

NESTINGS: dict[str, Any] = {
    "raw": WEIGHTS,
    "model": {"model": WEIGHTS, "epoch": 3},
    "state_dict": {"state_dict": WEIGHTS, "optimizer": {"state": {}}},
    "ema first": {"state_dict": OTHER, "state_dict_ema": WEIGHTS},
    "model_ema": {"model": OTHER, "model_ema": WEIGHTS},
    "empty ema": {"model": WEIGHTS, "ema": None},
    "ema with more": {"model": OTHER, "ema": {"module": WEIGHTS, "updates": 3}},
    "parallel": {"state_dict": {f"module.{name}": tensor for name, tensor in WEIGHTS.items()}},
    "compiled": {"model": {f"_orig_mod.module.{name}": tensor for name, tensor in WEIGHTS.items()}},
}


@pytest.mark.parametrize("nesting", NESTINGS)
def test_nestings(save: Save, nesting: str) -> None:
    read = read_state_dict(save(NESTINGS[nesting]))
    assert list(read) == list(WEIGHTS)
    assert torch.equal(read["conv.weight"], torch.ones(2))


def test_a_prefix_that_only_some_names_have_stays(save: Save) -> None:
    assert set(read_state_dict(save({"module.a": torch.ones(1), "b": torch.ones(1)}))) == {"module.a", "b"}


def test_under_names_of_the_authors_own(save: Save) -> None:
    path = save({"generator": WEIGHTS, "discriminator": {"state_dict": OTHER}, "epoch": 3})
    read = read_state_dict(path)
    assert set(read) == {f"{part}.{name}" for part in ("generator", "discriminator") for name in WEIGHTS}
    assert torch.equal(read["discriminator.conv.weight"], OTHER["conv.weight"])


def test_loaded_modules_count_as_their_state(save: Save) -> None:
    module = torch.nn.Conv2d(3, 4, 3)
    for content in (module, {"model": module, "epoch": 3}):
        assert set(read_state_dict(save(content), trust=True)) == {"weight", "bias"}


def test_no_tensors(save: Save) -> None:
    with pytest.raises(CheckpointError, match="contains no state dict"):
        read_state_dict(save({"epoch": 3}))


def test_weights_do_not_change_with_their_file(tmp_path: Path) -> None:
    """A run in training rewrites its checkpoint: tensors in a memory map of it would change, or end the process by SIGBUS."""
    numbers = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    path = tmp_path / "best.safetensors"
    numbers.save_file({"a.weight": torch.ones(100_000)}, path)
    found = read_state_dict(path)["a.weight"]
    with path.open("r+b") as file:  # of the same size, so that a test with a map fails instead of crashing
        file.write(bytes(path.stat().st_size))
    assert bool((found == 1).all())


def test_safetensors(tmp_path: Path) -> None:
    numbers = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    numbers.save_file({f"module.{name}": tensor for name, tensor in WEIGHTS.items()}, tmp_path / "best.safetensors")
    assert set(read_state_dict(tmp_path / "best.safetensors")) == set(WEIGHTS)
    with pytest.raises(CheckpointError, match="safetensors"):
        read_checkpoint(tmp_path / "best.safetensors")
    whole = (tmp_path / "best.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-3])
    with pytest.raises(CheckpointError, match="damaged"):
        read_state_dict(tmp_path / "cut.safetensors")


def test_a_pickled_module_gives_its_state_dict(save: Save) -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Sequential(torch.nn.BatchNorm2d(4)))
    module.register_buffer("hidden", torch.ones(1), persistent=False)
    path = save({"model": module})
    recorded = read_checkpoint(path, inert=("torch.nn",))["model"]
    assert isinstance(recorded, InertObject)
    for read in (tensors_of(recorded), read_state_dict(path, inert=("torch.nn",))):
        expected = module.state_dict()
        assert set(read) == set(expected)
        assert all(torch.equal(read[name], expected[name]) for name in expected)
