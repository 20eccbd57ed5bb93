"""What a model is made of is compared by value, and what moves in it is named."""

from __future__ import annotations

import functools
import itertools
import random
import time
import weakref
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")
from torch import nn  # noqa: E402

from adaptrt.export.eager import EagerRunner, is_float64  # noqa: E402
from adaptrt.export.repeatability import random_modules, why_unrepeatable  # noqa: E402
from adaptrt.export.state import changed, fingerprint, modified, written_parts  # noqa: E402


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("calls", torch.zeros(()))
        self.sizes = [1, (2, 3)]
        self.steps = 0

    def forward(self, x: Any) -> Any:
        return self.linear(x)


def add_in_place(block: Block) -> None:
    with torch.no_grad():
        block.linear.weight[0, 0] += 1


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (add_in_place, "parameter `linear.weight`"),
        (lambda block: block.calls.data.add_(1), "buffer `calls`"),
        (lambda block: setattr(block, "steps", 1), "attribute `steps`"),
        (lambda block: block.sizes.append(4), "attribute `sizes`"),
        (lambda block: setattr(block, "forward", lambda x: x), "attribute `forward`"),
        (lambda block: block.linear.register_forward_hook(lambda *_: None), "hooks of `linear`"),
        (lambda block: setattr(block, "linear", nn.Identity()), "module `linear`"),
    ],
)
def test_each_change_is_named(change: Any, name: str) -> None:
    block = Block()
    before = fingerprint(block)
    assert changed(before, fingerprint(block)) == []
    change(block)
    assert name in changed(before, fingerprint(block))


def test_a_method_of_the_class_is_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(Block())
    monkeypatch.setattr(Block, "forward", lambda self, x: x)
    assert "method `Block.forward`" in changed(before, fingerprint(Block()))


def test_what_forward_writes() -> None:
    names = ["parameter `a`", "buffer `b`", "attribute `c`", "method `M.forward`", "hooks of `d`"]
    assert written_parts(names) == names[:3]


def test_a_script_has_a_fingerprint_that_stays() -> None:
    script = torch.jit.script(nn.Sequential(nn.Linear(4, 4)))
    assert changed(fingerprint(script), fingerprint(script)) == []


class Counting(Block):
    def forward(self, x: Any) -> Any:
        self.calls += 1
        return x * self.calls


def test_causes_are_named() -> None:
    x = torch.ones(2, 4)
    dropping = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)).train()
    assert random_modules(dropping, lambda: dropping(x)) == ["module `1` (Dropout)"]
    assert why_unrepeatable(dropping, lambda: dropping(x)) == "draws random numbers in module `1` (Dropout)"
    counting = Counting()
    assert why_unrepeatable(counting, lambda: counting(x)) == "reads state that its forward modifies: buffer `calls`"
    steady = Block()
    assert random_modules(steady, lambda: steady(x)) == []
    assert not steady._forward_hooks


def test_inputs_are_copied_and_writes_are_noticed() -> None:
    class Writes(nn.Module):
        def forward(self, x: Any, y: Any) -> Any:
            return x.mul_(2) + y

    runner = EagerRunner(Writes(), ("z",))
    x, y = np.ones((2, 3), np.float32), np.full((2, 3), np.nan, np.float32)
    for _ in range(2):
        runner.run({"x": x, "y": y})
    assert (x == 1).all()
    assert runner.written == {"x"}


def test_a_float64_model_stays_one() -> None:
    model = nn.Linear(3, 2).double()
    assert is_float64(model)
    assert not is_float64(nn.Linear(3, 2))
    assert not is_float64(nn.ReLU())
    assert EagerRunner(model, ("y",)).run({"x": np.ones((1, 3), np.float32)})["y"].dtype == np.float64


class Counter:
    def __init__(self) -> None:
        self.calls = 0
        self.sizes = [[1], {"a": 2}]


class Slotted:
    __slots__ = ("calls",)

    def __init__(self) -> None:
        self.calls = 0


def counting() -> Any:
    calls = 0

    def count(step: int = 1) -> int:
        nonlocal calls
        calls += step
        return calls

    return count


def numbers() -> Any:
    number = 0
    while True:
        number += 1
        yield number


@pytest.mark.parametrize(
    ("held", "change"),
    [
        (Counter, lambda held: setattr(held, "calls", 1)),
        (Counter, lambda held: held.sizes[0].append(2)),
        (Counter, lambda held: setattr(held, "more", 1)),
        (lambda: [Counter()], lambda held: setattr(held[0], "calls", 1)),
        (lambda: {"a": (Counter(),)}, lambda held: held["a"][0].sizes.clear()),
        (Slotted, lambda held: setattr(held, "calls", 1)),
        (itertools.count, next),
        (numbers, next),
        (counting, lambda held: held()),
        (lambda: functools.partial(counting(), step=2), lambda held: held()),
        (lambda: np.random.default_rng(0), lambda held: held.random()),
        (lambda: np.random.RandomState(0), lambda held: held.rand()),
        (lambda: random.Random(0), lambda held: held.random()),
        (lambda: torch.Generator().manual_seed(0), lambda held: torch.rand(1, generator=held)),
        (lambda: [nn.BatchNorm1d(4)], lambda held: held[0].running_mean.add_(1)),
    ],
)
def test_what_changes_inside_an_object_is_named(held: Any, change: Any) -> None:
    block = Block()
    block.held = held()
    before = fingerprint(block)
    assert changed(before, fingerprint(block)) == []
    change(block.held)
    assert changed(before, fingerprint(block)) == ["object `held`"]
    assert written_parts(["object `held`"]) == ["object `held`"]


def test_objects_that_hold_each_other_have_a_fingerprint() -> None:
    block, one, other = Block(), Counter(), Counter()
    one.sizes.append([other])
    other.sizes.append([one])
    block.held, block.owner = one, [block]
    assert changed(fingerprint(block), fingerprint(block)) == []


class Store:
    """Knows only the names in its store, and says so by a KeyError."""

    def __init__(self) -> None:
        self.store = {"calls": 0}

    def __getattr__(self, name: str) -> Any:
        return self.store[name]


class SlottedStore:
    __slots__ = ("calls", "empty")

    def __init__(self) -> None:
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        raise KeyError(name)


class Interface:
    """As a PIL image: an interface of arrays without being one."""

    __array_interface__ = None

    def __init__(self) -> None:
        self.calls = 0


class Unprintable:
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        raise RuntimeError("no name")


def dead() -> Any:
    return weakref.proxy(Counter())


@pytest.mark.parametrize(
    "part", [Store, SlottedStore, Interface, dead, Unprintable, lambda: {Unprintable(): 1}, lambda: 10**5000]
)
@pytest.mark.parametrize("place", [lambda part: part, lambda part: [part], lambda part: SimpleNamespace(part=part)])
def test_a_part_that_refuses_to_be_read_is_compared_by_identity(part: Any, place: Any) -> None:
    block = Block()
    vars(block)["held"] = place(part())  # torch does not set a dead proxy, but one may die later
    block.counter = SimpleNamespace(part=part(), calls=0)
    before = fingerprint(block)
    assert changed(before, fingerprint(block)) == []
    block.counter.calls += 1
    assert changed(before, fingerprint(block)) == ["object `counter`"]
    block.counter.calls -= 1
    block.counter.part = part()
    assert changed(before, fingerprint(block)) == ["object `counter`"]


@pytest.mark.parametrize(
    ("held", "change"),
    [
        (Store, lambda held: held.store.update(calls=1)),
        (SlottedStore, lambda held: setattr(held, "calls", 1)),
        (Interface, lambda held: setattr(held, "calls", 1)),
        (lambda: SimpleNamespace(table=np.zeros(3)), lambda held: held.table.fill(1)),
        (lambda: SimpleNamespace(table=np.zeros(3), last=np.int64(0)), lambda held: setattr(held, "last", np.int64(1))),
    ],
)
def test_what_can_be_read_of_such_an_object_is_compared(held: Any, change: Any) -> None:
    test_what_changes_inside_an_object_is_named(held, change)


def sharing(held: Any, count: int) -> Any:
    blocks = [Block() for _ in range(count)]
    for block in blocks:
        block.held = held
    return nn.Sequential(*blocks)


def test_a_shared_object_is_read_once() -> None:
    config = SimpleNamespace(**{f"labels{i}": [f"label {j}" for j in range(1000)] for i in range(100)}, calls=0)
    started = time.perf_counter()
    fingerprint(sharing(config, 1))
    alone = time.perf_counter() - started
    model = sharing(config, 200)
    started = time.perf_counter()
    before = fingerprint(model)
    assert time.perf_counter() - started < 20 * alone + 0.2
    config.calls += 1
    assert changed(before, fingerprint(model)) == [f"object `{i}.held`" for i in range(200)]


def test_an_object_is_read_as_deep_wherever_it_was_met_first() -> None:
    deep = Counter()
    model = sharing([[[[deep]]]], 2)
    model[1].held = deep
    deep.sizes = [[Counter()]]
    before = fingerprint(model)
    deep.sizes[0][0].calls += 1
    assert "object `1.held`" in changed(before, fingerprint(model))


def test_objects_that_all_hold_each_other_are_read_in_little_time() -> None:
    block, nodes = Block(), [SimpleNamespace() for _ in range(60)]
    for node in nodes:
        node.others = dict(enumerate(nodes))
    block.held, block.loop = nodes, []
    block.loop.extend([block.loop] * 100)
    started = time.perf_counter()
    assert changed(fingerprint(block), fingerprint(block)) == []
    assert time.perf_counter() - started < 5


def test_caches_are_taken_from_both_states() -> None:
    block = Block()
    block.grids, block.held = {}, Counter()
    before = fingerprint(block)
    block.grids["export"] = Counter()
    block.held.calls += 1
    after = fingerprint(block)
    assert set(changed(before, after)) == {"attribute `grids`", "object `grids`", "object `held`"}
    assert modified(before, after) == ["attribute `grids`"]
    assert modified(before, after, ["attribute `grids`"]) == []
    assert modified(before, after, exporting=True) == []


def test_an_export_may_add_attributes_but_no_functions() -> None:
    block = Block()
    before = fingerprint(block)
    block.grid = [torch.zeros(2)]
    assert modified(before, fingerprint(block), exporting=True) == []
    block.forward = lambda x: x
    block.linear.weight.data += 1
    after = fingerprint(block)
    assert set(modified(before, after, exporting=True)) == {"parameter `linear.weight`", "attribute `forward`"}
