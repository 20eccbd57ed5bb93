"""Everything that a checkpoint records is accounted for: used by the rebuilt network, known to be unused, or refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("ultralytics", reason="needs the package ultralytics")
from torch import nn  # noqa: E402
from ultralytics.nn.modules import C2f  # noqa: E402
from ultralytics.nn.tasks import DetectionModel  # noqa: E402

from adaptrt.checkpoint import InertName, InertObject  # noqa: E402
from adaptrt.errors import CheckpointError  # noqa: E402
from adaptrt_ultralytics.accounting import Rebuilt, Usage  # noqa: E402
from adaptrt_ultralytics.classic.model import load_classic  # noqa: E402
from adaptrt_ultralytics.rebuild import load_new_family  # noqa: E402

CONV = ["Conv", [16, 3, 2]]
CONFIG = {
    "nc": 2,
    "ch": 3,
    "backbone": [[-1, 1, *CONV] for _ in range(3)],
    "head": [[-1, 1, "C2f", [16, True]], [-1, 1, *CONV], [[3, 4], 1, "Detect", ["nc"]]],
}


def small() -> Any:
    torch.manual_seed(1)
    return DetectionModel(copy.deepcopy(CONFIG), verbose=False).eval()


def hook(*_: Any) -> None:
    """Named in a pickle, as a function of the user's would be."""


def gate(channels: int) -> nn.Module:
    """Squeeze and excitation."""
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, 4, 1), nn.ReLU(), nn.Conv2d(4, channels, 1), nn.Sigmoid()
    )


def change(model: Any, name: str) -> None:
    layer = model.model[2]
    if name == "child":
        model.model[2].se = gate(8)
    elif name == "buffer":
        layer.register_buffer("shift", torch.ones(1))
    elif name == "parameter":
        layer.gamma = nn.Parameter(torch.ones(1))
    elif name == "number":
        layer.slope = 0.5
    elif name == "text":
        layer.mode = "reversed"
    elif name == "tensor":
        layer.shift = torch.ones(3)
    elif name == "private":
        layer._slope = 0.5
    elif name == "child of a layer of torch":
        model.model[0].conv.gate = gate(8)
    elif name == "setting of a layer of torch":
        model.model[0].conv.transposed = True
    elif name == "in the network":
        model.neck = gate(8)
    elif name == "number of the network":
        model.scale_factor = 2.0
    elif name == "child of a container":
        next(each for each in model.modules() if isinstance(each, nn.ModuleList)).append(nn.Identity())


CHANGES = {
    "child": "se",
    "buffer": "shift",
    "parameter": "gamma",
    "number": "slope",
    "text": "mode",
    "tensor": "shift",
    "private": "_slope",
    "child of a layer of torch": "gate",
    "setting of a layer of torch": "transposed",
    "in the network": "neck",
    "number of the network": "scale_factor",
}


@pytest.fixture(params=["classic", "new"])
def family(request: pytest.FixtureRequest, classic: Any, tmp_path: Path) -> Callable[..., Any]:
    """Make a network, change it, save it as its family does, and load it: without a change what it computes, too."""

    def load(edit: Callable[[Any], None] = lambda _: None) -> tuple[Any, Any]:
        if request.param == "classic":
            model = classic.network()
            edit(model)
            return model, load_classic(classic.save({"model": model}))
        model = small()
        edit(model)
        torch.save({"model": model}, tmp_path / "best.pt")
        return model, load_new_family(tmp_path / "best.pt")

    return load


def same(first: Any, second: Any) -> bool:
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        found = [out[0] if isinstance(out, tuple) else out for out in (first(images), second(images))]
    return torch.allclose(*found, rtol=1e-4, atol=1e-4)


def test_a_network_of_known_layers(family: Callable[..., Any]) -> None:
    assert same(*family())


@pytest.mark.parametrize("name", CHANGES)
def test_state_that_no_known_layer_has_is_refused_by_name(family: Callable[..., Any], name: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        family(lambda model: change(model, name))
    assert CHANGES[name] in caught.value.message
    assert "--trust-checkpoint" in str(caught.value.hint)
    assert "new-adapter" in str(caught.value.hint)


@pytest.mark.parametrize("kind", ["forward hook", "forward pre hook"])
def test_hooks_are_refused(family: Callable[..., Any], kind: str) -> None:
    def register(model: Any) -> None:
        getattr(model.model[1], f"register_{kind.replace(' ', '_')}")(hook)

    with pytest.raises(CheckpointError, match="hook") as caught:
        family(register)
    assert "test_accounting.hook" in str(caught.value) or kind in str(caught.value)


def test_a_forward_that_is_the_layers_own_changes_nothing(family: Callable[..., Any]) -> None:
    """BatchNorm was left out: any recorded ``forward`` was taken for the short form of a fused layer."""

    def replace(model: Any) -> None:
        model.model[1].forward = model.model[1].forward

    assert same(*family(replace))


def test_a_short_form_beside_batch_norm_is_refused(tmp_path: Path) -> None:
    model = small()
    model.model[1].forward = model.model[1].forward_fuse
    torch.save({"model": model}, tmp_path / "best.pt")
    with pytest.raises(CheckpointError, match=r"model\.1 \(Conv\) has bn"):
        load_new_family(tmp_path / "best.pt")


def test_a_forward_of_another_layer_is_refused(family: Callable[..., Any]) -> None:
    def replace(model: Any) -> None:
        model.model[1].forward = model.model[0].forward

    with pytest.raises(CheckpointError, match="replaced forward"):
        family(replace)


def test_a_replaced_method_is_refused(tmp_path: Path) -> None:
    model = small()
    model.model[-1].decode_bboxes = model.model[-1].forward
    torch.save({"model": model}, tmp_path / "best.pt")
    with pytest.raises(CheckpointError, match="decode_bboxes"):
        load_new_family(tmp_path / "best.pt")


def pretending(kind: type[nn.Module], name: str) -> type[nn.Module]:
    """The class, pickled as a block of the package, as a fork of it would."""
    kind.__module__, kind.__qualname__ = "ultralytics.nn.modules.block", name
    return kind


class GatedC2f(C2f):
    def forward(self, x: Any) -> Any:
        return super().forward(x) * self.cbam(x)


def test_a_forks_layer_of_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C2f with a gate, saved under the name of C2f."""
    from ultralytics.nn.modules import block

    model = small()
    layer = model.model[3]
    layer.__class__ = GatedC2f
    layer.cbam = gate(16)
    monkeypatch.setattr(block, "C2f", pretending(GatedC2f, "C2f"))
    torch.save({"model": model}, tmp_path / "best.pt")
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"layer model\.3 \(C2f\) has cbam"):
        load_new_family(tmp_path / "best.pt")


def test_a_classic_forks_layer_of_the_same_name(classic: Any) -> None:
    """Bottleneck with a gate that its forward uses."""
    model = classic.network()
    bottleneck = model.model[2].m[0]
    bottleneck.se = gate(4)
    with pytest.raises(CheckpointError, match=r"layer model\.2\.m\.0 \(Bottleneck\) has se"):
        load_classic(classic.save({"model": model}))


class Reads(nn.Module):
    """Reads a buffer, and uses it if its number says so."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.conv = nn.Conv2d(3, 2, 1)
        self.register_buffer("shift", torch.ones(2, 1, 1))

    def forward(self, x: Any) -> Any:
        return self.conv(x) + self.factor * self.shift


@pytest.mark.parametrize("factor", [0.0, 0.5])
def test_a_buffer_that_is_read_and_changes_nothing_is_unaccounted(factor: float) -> None:
    module = Reads(factor)
    state = {"_buffers": dict(module._buffers), "_modules": dict(module._modules), "factor": factor}
    recorded = InertObject(InertName("models.common", "Reads"), state=state)
    usage = Usage(module)
    usage.run(torch.rand(1, 3, 8, 8))
    assert usage.unaccounted(Rebuilt("model.0", module, recorded)) == ([] if factor else ["shift"])
    assert torch.equal(module.shift, torch.ones(2, 1, 1))


class Idle(nn.Module):
    """Reads everything, and uses half of it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)
        self.used, self.dropped, self.pool = nn.SiLU(), nn.Sigmoid(), nn.MaxPool2d(3, 1, 1)
        self.scale, self.slope, self.flag = 0.5, 0.5, True

    def forward(self, x: Any) -> Any:
        y = self.pool(self.conv(x))
        self.dropped(y)
        assert self.slope > 0
        return self.used(y) * self.scale if self.flag else y


def test_what_is_read_but_changes_nothing_is_unaccounted() -> None:
    torch.manual_seed(0)
    module = Idle()
    usage = Usage(module.eval())
    usage.run(torch.rand(1, 3, 8, 8))
    state = {name: module.__dict__[name] for name in ("_modules", "scale", "slope", "flag")}
    recorded = InertObject(InertName("models.common", "Idle"), state=state)
    assert usage.unaccounted(Rebuilt("", module, recorded)) == ["dropped", "slope"]
    assert (module.scale, module.slope) == (0.5, 0.5)
    assert not any(each._forward_hooks for each in module.modules())


class SplitAAttn(nn.Module):
    """Area attention with the queries and keys apart from the values, cell by cell as the paper says it."""

    def __init__(self, dim: int, heads: int, area: int) -> None:
        from ultralytics.nn.modules import Conv

        super().__init__()
        self.area, self.num_heads, self.head_dim = area, heads, dim // heads
        self.qk, self.v = Conv(dim, 2 * dim, 1, act=False), Conv(dim, dim, 1, act=False)
        self.pe, self.proj = Conv(dim, dim, 5, 1, 2, g=dim, act=False), Conv(dim, dim, 1, act=False)

    def forward(self, x: Any) -> Any:
        batch, channels, height, width = x.shape
        qk, v = self.qk(x).flatten(2), self.v(x)
        flat, mixed = v.flatten(2), torch.zeros_like(v).flatten(2)
        cells = height * width // self.area
        for image in range(batch):
            for run in range(self.area):
                part = slice(run * cells, (run + 1) * cells)
                for head in range(self.num_heads):
                    rows = slice(head * self.head_dim, (head + 1) * self.head_dim)
                    query, key = qk[image, rows, part], qk[image, channels:][rows, part]
                    weights = (query.T @ key * self.head_dim**-0.5).softmax(-1)
                    mixed[image, rows, part] = flat[image, rows, part] @ weights.T
        return self.proj(mixed.view_as(v) + self.pe(v))


def test_yolov12_as_its_authors_train_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ultralytics.nn.modules import block

    config = copy.deepcopy(CONFIG)
    config["head"][0] = [-1, 1, "A2C2f", [64, True, 4]]
    torch.manual_seed(2)
    model = DetectionModel(config, verbose=False).eval()
    for attention in [module for module in model.modules() if isinstance(module, block.ABlock)]:
        attention.attn = SplitAAttn(32, 1, 4)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 2)
            module.running_mean.normal_(0, 0.2)
            module.eps, module.momentum = 1e-3, 0.03
    model.eval()
    monkeypatch.setattr(block, "AAttn", pretending(SplitAAttn, "AAttn"))
    torch.save({"model": model}, tmp_path / "best.pt")
    monkeypatch.undo()
    assert same(model, load_new_family(tmp_path / "best.pt"))


def test_a_layer_whose_class_needs_what_was_not_recorded_is_named(tmp_path: Path) -> None:
    model = small()
    layer = model.model[3]
    layer.qk = layer.cv2
    del layer.cv2
    torch.save({"model": model}, tmp_path / "best.pt")
    with pytest.raises(
        CheckpointError, match=r"layer model\.3 \(C2f\) has qk, which its class does not use .*cv2"
    ) as caught:
        load_new_family(tmp_path / "best.pt")
    assert "--trust-checkpoint" in str(caught.value.hint)


def test_an_unknown_layer_is_named_with_the_ways_out(classic: Any) -> None:
    model = classic.network()
    model.model[1] = nn.Sequential(nn.LSTM(3, 3))
    with pytest.raises(CheckpointError, match=r"torch\.nn\.modules\.rnn\.LSTM") as caught:
        load_classic(classic.save({"model": model}))
    assert "--trust-checkpoint" in str(caught.value.hint)
