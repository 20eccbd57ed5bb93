"""What adapters do alike: weights into a network, and how files of weights are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adaptrt.checkpoint import fill_model, is_checkpoint_name
from adaptrt.errors import CheckpointError

torch = pytest.importorskip("torch", reason="weights are tensors")


def network() -> Any:
    return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))


def fill(model: Any, state: dict[str, Any], **options: Any) -> str:
    return fill_model(model, state, "best.pt", hint="Train it.", **options)


def test_all_that_fits_is_loaded() -> None:
    given, model = network(), network()
    assert fill(model, given.state_dict()) == ""
    assert all(torch.equal(value, given.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"0.bias": None}, "best.pt does not match the network: it lacks 0.bias."),
        ({"head": torch.zeros(1)}, "best.pt does not match the network: it has unused head."),
        (
            {"0.bias": None, "a": torch.zeros(1), "b": torch.zeros(1), "c": torch.zeros(1), "d": torch.zeros(1)},
            "it lacks 0.bias and has unused a, b, c, ... (4 in all).",
        ),
        ({"0.weight": torch.zeros(4, 3)}, "0.weight is [4, 3] in the file, but [2, 3] in the network."),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], message: str) -> None:
    model = network()
    state = {name: value for name, value in {**model.state_dict(), **change}.items() if value is not None}
    with pytest.raises(CheckpointError) as caught:
        fill(model, state)
    assert message in caught.value.message
    assert caught.value.hint == "Train it."


def test_another_network() -> None:
    with pytest.raises(CheckpointError, match=r"contains no tensor of the network: it has 0.wieght") as caught:
        fill(torch.nn.Sequential(torch.nn.Linear(3, 2, bias=False)), {"0.wieght": torch.zeros(2, 3)})
    assert caught.value.hint == "Train it."  # the message has the names; the nearest one would not help
    with pytest.raises(CheckpointError) as caught:
        fill(network(), {"x": torch.zeros(1)}, other_hint="Take another.")
    assert caught.value.hint == "Take another."


def test_what_may_be_missing() -> None:
    state = {name: value for name, value in network().state_dict().items() if "num_batches" not in name}
    assert fill(network(), state, ignored=lambda name: name.endswith("num_batches_tracked")) == ""
    assert fill(network(), {**state, "x": torch.zeros(1)}, strict=False) == (
        "lacks 1.num_batches_tracked and has unused x"
    )


def test_the_shape_that_says_most_is_shown_first() -> None:
    state = {**network().state_dict(), "0.weight": torch.zeros(5, 3), "0.bias": torch.zeros(5)}
    with pytest.raises(CheckpointError, match=r"0.bias is \[5\].*\(and 1 more\)") as caught:
        fill(network(), state, order=lambda name: name == "0.weight", shape_hint=", ".join)
    assert caught.value.hint == "0.bias, 0.weight"


@pytest.mark.parametrize(
    ("name", "known"),
    [("best.pt", True), ("a/B.PTH", True), ("x.pth.tar", True), ("model.safetensors", True), ("net.py", False)],
)
def test_names_of_checkpoints(name: str, known: bool) -> None:
    assert is_checkpoint_name(name) is is_checkpoint_name(Path(name)) is known
