"""Classic checkpoints of every layout, compared with the plain computation that made them."""

from __future__ import annotations

import copy
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("ultralytics", reason="needs the package ultralytics")
from torch import nn  # noqa: E402

from adaptrt.errors import CheckpointError  # noqa: E402
from adaptrt_ultralytics.classic.model import load_classic  # noqa: E402

ODD = [[3.5, 97.0], [40, 11], [200, 350]]  # one anchor a level

LAYOUTS: dict[str, dict[str, Any]] = {
    "v6 P5": {},
    "v6 P6": {"levels": 4, "nc": 1},
    "v5 P5": {"old": True, "act": lambda: nn.LeakyReLU(0.1)},
    "v5 P6": {"old": True, "levels": 4, "act": nn.Hardswish},
    "80 classes": {"nc": 80},
    "one odd anchor": {"anchors": ODD},
    "names as a dict": {"nc": 2, "names": {0: "cat", 1: "dog"}},
}


def output_of(model: nn.Module, images: Any) -> Any:
    with torch.no_grad():
        return model(images)


def close(found: Any, expected: Any, tolerance: float = 1e-5) -> bool:
    """Within ``tolerance`` of each column's range."""
    columns = expected.flatten(0, 1)
    span = columns.max(0).values - columns.min(0).values
    assert found.shape == expected.shape
    assert (span > 0).all()
    return bool(((found - expected).abs().flatten(0, 1).max(0).values <= tolerance * span).all())


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(classic: Any, layout: str, new: bool) -> None:
    original = classic.network(**LAYOUTS[layout])
    path = classic.save(classic.as_trained(original), new=new)
    model = load_classic(path)
    images = torch.rand(2, 3, 64, 128)
    expected = output_of(copy.deepcopy(original).half().float(), images)
    assert close(output_of(model, images), expected)
    for name, value in model.head.constants(64, 128).items():
        setattr(model.head, name, value)
    assert close(output_of(model, images), expected)
    model.head.dynamic = True
    assert close(output_of(model, images), expected)


def test_what_is_attached(classic: Any) -> None:
    original = classic.network(nc=2, names=["helmet", "vest"])
    model = load_classic(classic.save(classic.as_trained(original)))
    assert model.names == {0: "helmet", 1: "vest"}
    assert model.stride.tolist() == [8, 16, 32]
    assert model.yaml["nc"] == 2
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32, torch.int64}
    assert set(model.state_dict()) == {name for name in original.state_dict() if "anchor" not in name}
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {norm.eps for norm in norms} == {1e-3}


def test_names_that_do_not_fit_are_replaced(classic: Any) -> None:
    model = load_classic(classic.save({"model": classic.network(nc=3, names=["a"])}))
    assert model.names == {0: "class0", 1: "class1", 2: "class2"}


def test_fused(classic: Any) -> None:
    original = classic.network()
    images = torch.rand(1, 3, 64, 64)
    expected = output_of(original, images)
    for module in original.modules():
        if type(module).__name__ == "Conv":
            module.fuse()
    model = load_classic(classic.save({"model": original}))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    assert close(output_of(model, images), expected)


def test_the_whole_model_saved_without_a_dict(classic: Any) -> None:
    original = classic.network()
    images = torch.rand(1, 3, 64, 64)
    assert close(output_of(load_classic(classic.save(original)), images), output_of(original, images))


def test_anchors_moved_by_autoanchor(classic: Any) -> None:
    original = classic.network()
    original.model[-1].anchors.mul_(1.7)
    images = torch.rand(1, 3, 64, 64)
    assert close(output_of(load_classic(classic.save({"model": original})), images), output_of(original, images))


def breaks(change: str, model: Any) -> None:
    head = model.model[-1]
    if change == "anchors gone":
        del head.anchors
    elif change == "stride gone":
        del head.stride
        del model.stride
    elif change == "stride wrong":
        head.stride = torch.tensor([4.0, 8.0, 16.0])
    elif change == "wiring":
        model.model[3].f = 17
    elif change == "no layers":
        model.model = nn.Sequential()
    elif change == "channels":
        model.model[1].conv.weight.data = torch.ones(8, 9, 3, 3)
    elif change == "setting":
        model.model[1].conv.groups = 3
    elif change == "no head":
        model.model = model.model[:-1]
    elif change == "layer swapped":
        model.model[1] = nn.Linear(3, 3)
        model.model[1].f, model.model[1].i = -1, 1


@pytest.mark.parametrize(
    "change",
    [
        "anchors gone",
        "stride gone",
        "stride wrong",
        "wiring",
        "no layers",
        "channels",
        "setting",
        "no head",
        "layer swapped",
    ],
)
def test_networks_that_are_none(classic: Any, change: str) -> None:
    original = classic.network()
    breaks(change, original)
    with pytest.raises(CheckpointError) as caught:
        load_classic(classic.save({"model": original}))
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(("channels", "old"), [(1, False), (2, True), (4, False)])
def test_channels_come_from_the_first_convolution(classic: Any, channels: int, old: bool) -> None:
    original = classic.network(channels=channels, old=old)
    model = load_classic(classic.save({"model": original}))
    images = torch.rand(1, channels, 64, 64)
    assert model.channels == channels
    assert close(output_of(model, images), output_of(original, images))
