"""Sub-modules replaced and switches set for the length of a block."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="sub-modules are torch's")
from adaptrt.contributions import ModulePatch, Patch, SwitchPatch  # noqa: E402
from adaptrt.errors import PatchError  # noqa: E402
from adaptrt.patching import applied, require_called  # noqa: E402
from adaptrt.plugins.facade import Contributed  # noqa: E402

nn = torch.nn


class Doubling(nn.Module):
    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Any) -> Any:
        return 2 * self.inner(x)


def by_plugin(*patches: Patch) -> list[Contributed]:
    return [Contributed(patch, "tester") for patch in patches]


def modules(build: Any, target: str = "torch.nn.modules.activation:ReLU") -> ModulePatch:
    return ModulePatch(target=target, build=build, reason="a test", requires="torch>=2")


def switches(values: dict[str, Any], target: str = "torch.nn.modules.activation:ReLU") -> SwitchPatch:
    return SwitchPatch(target=target, values=values, reason="a test", requires="torch>=2")


def net() -> Any:
    return nn.Sequential(
        nn.Linear(2, 2), nn.ReLU(), nn.ModuleList([nn.ReLU()]), nn.Sequential(nn.ReLU(), nn.Tanh())
    ).eval()


def state(model: Any) -> list[Any]:
    return [
        (name, module, dict(vars(module)), list(module._modules.items()), list(module._forward_pre_hooks))
        for name, module in model.named_modules()
    ]


def test_modules_are_replaced_and_come_back() -> None:
    model = net()
    before = state(model)
    with applied(model, by_plugin(modules(lambda relu: nn.Sigmoid()))) as (record,):
        assert [type(module) for module in model.modules()].count(nn.Sigmoid) == 3
        assert not any(isinstance(module, nn.ReLU) for module in model.modules())
        model[1](torch.zeros(1))
        model[3](torch.zeros(1))
        assert record.calls == 2
    assert state(model) == before


def test_a_replacement_may_hold_the_original() -> None:
    model = nn.Sequential(nn.ReLU())
    with applied(model, by_plugin(modules(Doubling))) as (record,):
        assert model(torch.ones(1)).item() == 2
        assert record.calls == 1
    assert model(torch.ones(1)).item() == 1
    assert not model[0]._forward_pre_hooks


def test_a_shared_module_is_replaced_wherever_it_is() -> None:
    shared = nn.ReLU()
    model = nn.ModuleDict({"a": shared, "b": shared, "c": nn.Sequential(shared)})
    built = []

    def build(relu: Any) -> Any:
        built.append(relu)
        return nn.Sigmoid()

    with applied(model, by_plugin(modules(build))):
        assert model["a"] is model["b"] is model["c"][0]
        assert isinstance(model["a"], nn.Sigmoid)
    assert built == [shared]
    assert model["a"] is model["b"] is model["c"][0] is shared


def test_replacements_take_over_the_mode() -> None:
    model = net()
    with applied(model, by_plugin(modules(lambda relu: nn.Sequential(nn.BatchNorm1d(2), nn.Dropout())))):
        assert not any(module.training for module in model.modules())


def test_a_build_that_fails_is_named_and_undone() -> None:
    model = net()
    before = state(model)

    def build(relu: Any) -> Any:
        if relu is model[3][0]:
            raise KeyError("no weights")
        return nn.Sigmoid()

    with (
        pytest.raises(PatchError, match=r"ReLU \(tester\) cannot build .*KeyError: 'no weights'"),
        applied(model, by_plugin(modules(build))),
    ):
        pass
    assert state(model) == before
    with (
        pytest.raises(PatchError, match="must build a torch.nn.Module"),
        applied(model, by_plugin(modules(lambda relu: "relu"))),
    ):
        pass
    assert state(model) == before


def test_the_model_itself_is_not_replaced() -> None:
    model = nn.ReLU()
    with (
        pytest.raises(PatchError, match="would replace the model itself"),
        applied(model, by_plugin(modules(Doubling))),
    ):
        pass


@pytest.mark.parametrize(
    "kind", [modules(lambda module: module, "torch.nn.functional:relu"), switches({}, "torch.nn.functional:relu")]
)
def test_a_target_that_is_no_class(kind: Patch) -> None:
    with pytest.raises(PatchError, match="the target is not a class"), applied(net(), by_plugin(kind)):
        pass


def test_no_such_module_in_the_model() -> None:
    never = modules(lambda module: module, "torch.nn.modules.activation:GELU")
    with applied(net(), by_plugin(never, switches({"approximate": "tanh"}, never.target))) as records:
        pass
    for record in records:
        with pytest.raises(PatchError, match="was never called"):
            require_called([record])


def test_switches_are_set_on_instances_and_come_back() -> None:
    model = net()
    before = state(model)
    with applied(model, by_plugin(switches({"inplace": True}))) as (record,):
        assert [module.inplace for module in model.modules() if isinstance(module, nn.ReLU)] == [True] * 3
        assert record.calls == 3
    assert state(model) == before


class Switched(nn.Module):
    export = False

    def __init__(self) -> None:
        super().__init__()
        self.mode = "train"
        self.weight = nn.Parameter(torch.ones(1))
        self.register_buffer("scale", torch.ones(1))
        self.act = nn.ReLU()
        self._limit = 1

    @property
    def limit(self) -> int:
        return self._limit

    @limit.setter
    def limit(self, value: int) -> None:
        self._limit = value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("export", True),
        ("mode", "export"),
        ("limit", 5),
        ("act", nn.Identity()),
        ("scale", torch.zeros(1)),
        ("weight", nn.Parameter(torch.zeros(1))),
    ],
)
def test_any_kind_of_switch_comes_back(name: str, value: Any) -> None:
    module = Switched()
    model = nn.Sequential(module)
    before = (getattr(module, name), state(model), list(module.state_dict()))
    Switched.__module__, Switched.__qualname__ = "torch.nn", "Switched"
    nn.Switched = Switched
    try:
        with applied(model, by_plugin(switches({name: value}, "torch.nn:Switched"))):
            assert getattr(module, name) is value
    finally:
        del nn.Switched
    assert (getattr(module, name), state(model), list(module.state_dict())) == before


def test_a_switch_that_does_not_exist_undoes_the_others() -> None:
    model = net()
    before = state(model)
    with (
        pytest.raises(PatchError, match="no attribute 'in_place'") as caught,
        applied(model, by_plugin(switches({"inplace": True, "in_place": True}))),
    ):
        pass
    assert "torch>=2 is supported" in (caught.value.hint or "")
    assert state(model) == before


def test_modules_and_switches_in_reverse() -> None:
    """The switch is set on what the first patch put there; taken back first, too."""
    model = net()
    before = state(model)
    target = "torch.nn.modules.dropout:Dropout"
    with applied(model, by_plugin(modules(lambda relu: nn.Dropout()), switches({"inplace": True}, target))) as records:
        assert model[1].inplace is True
        assert [record.calls for record in records] == [0, 3]
    assert state(model) == before
