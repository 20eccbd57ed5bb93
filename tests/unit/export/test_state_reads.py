"""State that a model keeps from other inputs: found where it decides the outputs, and left as it was."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="models are torch's")

from torch import nn  # noqa: E402

from adaptrt.export.eager import EagerRunner  # noqa: E402
from adaptrt.export.state import changed, fingerprint, written_parts  # noqa: E402
from adaptrt.export.state_reads import state_that_outputs_read  # noqa: E402


@dataclass(slots=True)
class Slotted:
    mean: Any = None


class Keeps(nn.Module):
    """``forward`` is a function of it and ``x``."""

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.function = function
        self.linear = nn.Linear(3, 3)
        self.register_buffer("largest", torch.tensor(0.0))
        self.last: Any = None
        self.cache: dict[int, Any] = {}
        self.held = SimpleNamespace(mean=torch.tensor(0.0), calls=[], width=3)
        self.register_buffer("pair", torch.zeros(2))
        self.ring, self.place = [0.0] * 4, 0
        self.array, self.slotted = np.zeros(3), Slotted()
        self.table: OrderedDict[str, Any] = OrderedDict()
        self.lists: defaultdict[str, list[float]] = defaultdict(list)
        self.locked = Locked()
        self.recent: deque[Any] = deque(maxlen=2)
        self.together = ([0.0], 1)

    def forward(self, x: Any) -> Any:
        return self.function(self, x)


def running_maximum(net: Any, x: Any) -> Any:
    net.largest.copy_(torch.maximum(net.largest, x.max()))
    return torch.where(net.largest > 100, -x, x)


def last_value(net: Any, x: Any) -> Any:
    y = x if net.last is None else torch.where(net.last > 100, -x, x)
    net.last = x.max()
    return y


def last_number_in_an_object(net: Any, x: Any) -> Any:
    y = torch.where(net.held.mean > 100, -x, x)
    net.held.mean = x.mean()
    return y


def last_of_a_list(net: Any, x: Any) -> Any:
    y = -x if net.held.calls and net.held.calls[0] > 100 else x
    net.held.calls[:] = [float(x.max())]
    return y


def keeps_features(net: Any, x: Any) -> Any:
    net.last = {"features": [net.linear(x)]}
    net.held.mean = net.last["features"][0].mean()
    return net.last["features"][0] * 2


def keeps_by_shape(net: Any, x: Any) -> Any:
    if x.shape[0] not in net.cache:
        net.cache[x.shape[0]] = torch.arange(3.0)
    return x + net.cache[x.shape[0]]


def keeps_an_expanded_grid(net: Any, x: Any) -> Any:
    if net.last is None or net.last.shape != x.shape:
        net.last = torch.arange(3.0).view(1, 3).expand(x.shape)
    return x + net.last


class Locked:
    def __init__(self) -> None:
        self.mean: Any = None

    def __reduce_ex__(self, _: Any) -> Any:
        raise TypeError("cannot be copied")


def fills_what_cannot_be_copied(net: Any, x: Any) -> Any:
    net.locked.mean = x.mean()
    return x


def writes_a_ring_of_values(net: Any, x: Any) -> Any:
    net.ring[net.place] = x.mean()
    net.place = (net.place + 1) % len(net.ring)
    return x


def reads_what_it_does_not_write(net: Any, x: Any) -> Any:
    net.pair[0] = x.mean()
    net.held.mean = x.mean()
    net.cache[3] = x.mean()
    return (x + net.pair[1]).reshape(-1, net.held.width) * net.cache.setdefault(2, 2.0)


def fills_other_containers(net: Any, x: Any) -> Any:
    net.array[:] = float(x.mean())
    net.slotted.mean = x.mean()
    net.table["mean"] = x.mean()
    net.lists["means"].append(float(x.mean()))
    net.recent.append(x.mean())
    net.together[0][0] = float(x.mean())
    return x


def last_of_an_array(net: Any, x: Any) -> Any:
    y = -x if net.array.max() > 100 else x
    net.array[:] = float(x.mean())
    return y


def last_of_a_deque(net: Any, x: Any) -> Any:
    y = -x if net.recent and net.recent[-1] > 100 else x
    net.recent.append(x.mean())
    return y


def last_of_slots(net: Any, x: Any) -> Any:
    y = x if net.slotted.mean is None or net.slotted.mean < 100 else -x
    net.slotted.mean = float(x.mean())
    return y


def found_in(net: nn.Module) -> list[str]:
    loaded, runner = fingerprint(net), EagerRunner(net)
    rng = np.random.default_rng(0)
    samples = [{"x": rng.random((rows, 3)).astype(np.float32)} for rows in (1, 1, 2)]
    for inputs in samples:
        runner.run(inputs)
    before = fingerprint(net)
    found = state_that_outputs_read(net, written_parts(changed(loaded, before)), runner.run, samples)
    assert changed(before, fingerprint(net)) == []
    return found


@pytest.mark.parametrize(
    ("function", "part"),
    [
        (running_maximum, "buffer `largest`"),
        (last_value, "attribute `last`"),
        (last_number_in_an_object, "object `held`"),
        (last_of_a_list, "object `held`"),
        (last_of_an_array, "attribute `array`"),
        (last_of_a_deque, "attribute `recent`"),
        (last_of_slots, "object `slotted`"),
    ],
)
def test_state_of_other_inputs_that_outputs_depend_on(function: Any, part: str) -> None:
    assert found_in(Keeps(function).eval()) == [part]
    inside = nn.Sequential(nn.Identity(), Keeps(function)).eval()
    assert found_in(inside) == [part.replace(" `", " `1.")]


@pytest.mark.parametrize(
    "function",
    [
        keeps_features,
        keeps_by_shape,
        keeps_an_expanded_grid,
        writes_a_ring_of_values,
        reads_what_it_does_not_write,
        fills_other_containers,
        fills_what_cannot_be_copied,
        lambda net, x: net.linear(x),
    ],
)
def test_features_for_someone_else_and_caches_by_shape(function: Any) -> None:
    assert found_in(Keeps(function).eval()) == []


def test_values_that_the_model_does_not_take() -> None:
    def strict(net: Any, x: Any) -> Any:
        if x.max() > 1:
            raise ValueError("pixels are between 0 and 1")
        return last_value(net, x)

    assert found_in(Keeps(strict).eval()) == ["attribute `last`"]


def test_state_is_put_back_after_an_interrupt() -> None:
    net, calls = Keeps(fills_other_containers).eval(), 0
    runner, inputs = EagerRunner(net), {"x": np.ones((1, 3), np.float32)}
    loaded = fingerprint(net)
    runner.run(inputs)
    before = fingerprint(net)

    def interrupted(given: Any) -> Any:
        nonlocal calls
        calls += 1
        found = runner.run(given)
        if calls == 2:
            raise KeyboardInterrupt
        return found

    with pytest.raises(KeyboardInterrupt):
        state_that_outputs_read(net, written_parts(changed(loaded, before)), interrupted, [inputs])
    assert changed(before, fingerprint(net)) == []


def test_small_samples_are_enough() -> None:
    net, sizes = Keeps(keeps_features).eval(), []

    def run(inputs: Any) -> Any:
        sizes.append(inputs["x"].shape[0])
        return EagerRunner(net).run(inputs)

    loaded = fingerprint(net)
    samples = [{"x": np.full((rows, 3), rows + index, np.float32)} for index, rows in enumerate((8, 8, 2, 2, 1))]
    EagerRunner(net).run(samples[-1])
    state_that_outputs_read(net, written_parts(changed(loaded, fingerprint(net))), run, samples)
    assert {*sizes} == {2}
