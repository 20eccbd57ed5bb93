"""Networks without trained weights: what is warned of, and statistics of batch norms from noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adaptrt import Conversion, Request
from adaptrt.checkpoint import take_noise_statistics, warn_of_random_weights

torch = pytest.importorskip("torch", reason="networks are modules of torch")


def deep(layers: int = 40) -> Any:
    """Each layer multiplies what it gets by about four, as its batch norm does not normalize."""
    parts = []
    for _ in range(layers):
        convolution = torch.nn.Conv2d(4, 4, 1)
        torch.nn.init.normal_(convolution.weight, std=2.0)
        parts += [convolution, torch.nn.BatchNorm2d(4)]
    return torch.nn.Sequential(*parts).eval()


def test_activations_stay_in_range_with_statistics_of_noise() -> None:
    torch.manual_seed(0)
    network, images = deep(), torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        assert network(images).abs().max() > 1e15
        take_noise_statistics(network, network, (4, 8, 8))
        assert 0.1 < network(images).abs().max() < 10
    assert not any(module.training for module in network.modules())


def test_statistics_are_the_same_each_time_and_leave_the_random_state() -> None:
    torch.manual_seed(0)
    network = deep()
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    before, found = torch.get_rng_state(), []
    for _ in range(2):
        network.load_state_dict(state)
        take_noise_statistics(network, network, (4, 8, 8))
        found.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(tensor, found[1][name]) for name, tensor in found[0].items())
    assert not torch.equal(found[0]["1.running_var"], state["1.running_var"])


def test_a_batch_norm_of_several_levels_takes_the_first() -> None:
    norm = torch.nn.BatchNorm2d(3).eval()
    take_noise_statistics(norm, lambda images: (norm(images), norm(1e6 * images)), (3, 32, 32))
    assert 0.5 < norm.running_var.max() < 2
    assert norm.running_mean.any()


def test_a_network_whose_activations_stay_in_range_is_left_alone() -> None:
    torch.manual_seed(0)
    network = deep(2)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    take_noise_statistics(network, network, (4, 8, 8))
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())


def test_a_network_that_fails_on_noise_is_left_alone() -> None:
    """Comparing with the network runs it too, and names it as the cause."""

    def fail(_: Any) -> None:
        raise ValueError("batch_norm eps must be positive, but got 0")

    network = deep(2)
    take_noise_statistics(network, fail, (4, 8, 8))
    assert not network[1].running_mean.any()


def test_a_network_without_batch_norms_is_not_run() -> None:
    take_noise_statistics(torch.nn.Linear(3, 2), lambda _: pytest.fail("was run"), (3,))


@pytest.mark.parametrize("taken", [True, False])
def test_the_warning_names_the_statistics(taken: bool, tmp_path: Path) -> None:
    said: list[str] = []
    ctx = Conversion(Request("net.py", "any"), None, tmp_path, warn=said.append)
    network = deep(40 if taken else 1)
    take_noise_statistics(network, network, (4, 8, 8))
    warn_of_random_weights(ctx, "net.py", network=network)
    noise = " (batch-norm statistics taken from noise)" if taken else ""
    assert said == [
        f"net.py has random weights{noise}, so its predictions are meaningless: pass trained weights with --weights."
    ]
