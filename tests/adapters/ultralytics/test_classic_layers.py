"""Each layer of the classic repository that is rebuilt from its name gives what its published formula gives."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("ultralytics", reason="needs the package ultralytics")
from torch import nn  # noqa: E402

from adaptrt.checkpoint import read_checkpoint  # noqa: E402
from adaptrt_ultralytics.accounting import Usage, require_accounted  # noqa: E402
from adaptrt_ultralytics.checkpoints import INERT  # noqa: E402
from adaptrt_ultralytics.classic.layers import layer_class  # noqa: E402
from adaptrt_ultralytics.rebuild_modules import rebuild_module  # noqa: E402


class Conv(nn.Module):
    def __init__(self, c1: int, c2: int, k: Any = 1, s: Any = 1, g: int = 1) -> None:
        super().__init__()
        sizes = (k, k) if isinstance(k, int) else k
        self.conv = nn.Conv2d(c1, c2, k, s, tuple(size // 2 for size in sizes), groups=g, bias=False)
        self.bn = nn.BatchNorm2d(c2)
        self.act = nn.SiLU()

    def forward(self, x: Any) -> Any:
        return self.act(self.bn(self.conv(x)))


class DWConv(Conv):
    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1) -> None:
        super().__init__(c1, c2, k, s, g=math.gcd(c1, c2))


class DWConvTranspose2d(nn.ConvTranspose2d):
    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1, p1: int = 0, p2: int = 0) -> None:
        super().__init__(c1, c2, k, s, p1, p2, groups=math.gcd(c1, c2))


class TransformerLayer(nn.Module):
    def __init__(self, c: int, num_heads: int) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(c, c, bias=False) for _ in range(3))
        self.ma = nn.MultiheadAttention(embed_dim=c, num_heads=num_heads)
        self.fc1, self.fc2 = nn.Linear(c, c, bias=False), nn.Linear(c, c, bias=False)

    def forward(self, x: Any) -> Any:
        """Attention written out, head by head: the library's own must give the same."""
        query, key, value = self.q(x), self.k(x), self.v(x)
        weight, bias = self.ma.in_proj_weight.chunk(3), self.ma.in_proj_bias.chunk(3)
        query, key, value = (tensor @ w.T + b for tensor, w, b in zip((query, key, value), weight, bias, strict=True))
        size = x.shape[-1] // self.ma.num_heads
        heads = []
        for head in range(self.ma.num_heads):
            part = slice(head * size, (head + 1) * size)
            scores = torch.einsum("ibc,jbc->bij", query[..., part], key[..., part]) / math.sqrt(size)
            heads.append(torch.einsum("bij,jbc->ibc", scores.softmax(-1), value[..., part]))
        x = self.ma.out_proj(torch.cat(heads, -1)) + x
        return self.fc2(self.fc1(x)) + x


class TransformerBlock(nn.Module):
    def __init__(self, c1: int, c2: int, num_heads: int, num_layers: int) -> None:
        super().__init__()
        self.conv = Conv(c1, c2) if c1 != c2 else None
        self.linear = nn.Linear(c2, c2)
        self.tr = nn.Sequential(*(TransformerLayer(c2, num_heads) for _ in range(num_layers)))
        self.c2 = c2

    def forward(self, x: Any) -> Any:
        if self.conv is not None:
            x = self.conv(x)
        batch, _, width, height = x.shape
        cells = x.flatten(2).permute(2, 0, 1)
        return self.tr(cells + self.linear(cells)).permute(1, 2, 0).reshape(batch, self.c2, width, height)


class Bottleneck(nn.Module):
    def __init__(self, c: int, add: bool = True) -> None:
        super().__init__()
        self.cv1, self.cv2, self.add = Conv(c, c), Conv(c, c, 3), add

    def forward(self, x: Any) -> Any:
        y = self.cv2(self.cv1(x))
        return x + y if self.add else y


class CrossConv(nn.Module):
    def __init__(self, c: int, k: int = 3, add: bool = False) -> None:
        super().__init__()
        self.cv1, self.cv2, self.add = Conv(c, c, (1, k)), Conv(c, c, (k, 1)), add

    def forward(self, x: Any) -> Any:
        y = self.cv2(self.cv1(x))
        return x + y if self.add else y


class SPP(nn.Module):
    def __init__(self, c1: int, c2: int, k: Any = (5, 9, 13)) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(c1, c1 // 2), Conv(c1 // 2 * (len(k) + 1), c2)
        self.m = nn.ModuleList(nn.MaxPool2d(size, 1, size // 2) for size in k)

    def forward(self, x: Any) -> Any:
        x = self.cv1(x)
        return self.cv2(torch.cat([x, *(pool(x) for pool in self.m)], 1))


class GhostConv(nn.Module):
    def __init__(self, c1: int, c2: int) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(c1, c2 // 2), Conv(c2 // 2, c2 // 2, 5, 1, c2 // 2)

    def forward(self, x: Any) -> Any:
        y = self.cv1(x)
        return torch.cat((y, self.cv2(y)), 1)


class GhostBottleneck(nn.Module):
    def __init__(self, c1: int, c2: int, k: int = 3, s: int = 1) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            GhostConv(c1, c2 // 2), DWConv(c2 // 2, c2 // 2, k, s) if s == 2 else nn.Identity(), GhostConv(c2 // 2, c2)
        )
        self.shortcut = nn.Sequential(DWConv(c1, c1, k, s), Conv(c1, c2)) if s == 2 else nn.Identity()

    def forward(self, x: Any) -> Any:
        return self.conv(x) + self.shortcut(x)


class C3(nn.Module):
    def __init__(self, c1: int, c2: int, inner: Callable[[int], nn.Module]) -> None:
        super().__init__()
        half = c2 // 2
        self.cv1, self.cv2, self.cv3 = Conv(c1, half), Conv(c1, half), Conv(c2, c2)
        self.m = inner(half)

    def forward(self, x: Any) -> Any:
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class C3TR(C3):
    pass


class C3SPP(C3):
    pass


class C3Ghost(C3):
    pass


class C3x(C3):
    pass


class Contract(nn.Module):
    def __init__(self, gain: int = 2) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, x: Any) -> Any:
        """The cell at (row, column) of each block becomes the (row * gain + column)-th run of channels."""
        steps = range(self.gain)
        return torch.cat([x[:, :, row :: self.gain, column :: self.gain] for row in steps for column in steps], 1)


class Expand(nn.Module):
    def __init__(self, gain: int = 2) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, x: Any) -> Any:
        batch, channels, height, width = x.shape
        gain, left = self.gain, channels // self.gain**2
        y = torch.zeros(batch, left, height * gain, width * gain)
        for row in range(gain):
            for column in range(gain):
                first = (row * gain + column) * left
                y[:, :, row::gain, column::gain] = x[:, first : first + left]
        return y


class MixConv2d(nn.Module):
    def __init__(self, c1: int, c2: int, k: Any = (1, 3)) -> None:
        super().__init__()
        part = c2 // len(k)
        self.m = nn.ModuleList(
            nn.Conv2d(c1, part, size, 1, size // 2, groups=math.gcd(c1, part), bias=False) for size in k
        )
        self.bn, self.act = nn.BatchNorm2d(c2), nn.SiLU()

    def forward(self, x: Any) -> Any:
        return self.act(self.bn(torch.cat([conv(x) for conv in self.m], 1)))


class Sum(nn.Module):
    def __init__(self, n: int, weight: bool = False) -> None:
        super().__init__()
        self.weight = weight
        self.iter = range(n - 1)
        if weight:
            self.w = nn.Parameter(-torch.arange(1.0, n) / 2)

    def forward(self, x: Any) -> Any:
        y = x[0]
        for index in self.iter:
            y = y + x[index + 1] * (torch.sigmoid(self.w[index]) * 2 if self.weight else 1)
        return y


COMMON = (
    Conv, DWConv, DWConvTranspose2d, TransformerLayer, TransformerBlock, Bottleneck, SPP, GhostConv, GhostBottleneck,
    C3, C3TR, C3SPP, C3Ghost, C3x, Contract, Expand,
)  # fmt: skip
EXPERIMENTAL = (CrossConv, MixConv2d, Sum)

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "C3Ghost": lambda: C3Ghost(8, 16, lambda c: nn.Sequential(GhostBottleneck(c, c))),
    "C3SPP": lambda: C3SPP(8, 16, lambda c: SPP(c, c)),
    "C3TR": lambda: C3TR(8, 16, lambda c: TransformerBlock(c, c, 4, 1)),
    "C3x": lambda: C3x(8, 16, lambda c: nn.Sequential(CrossConv(c, add=True))),
    "Contract": lambda: Contract(2),
    "CrossConv": lambda: CrossConv(8),
    "DWConv": lambda: DWConv(8, 16, 3),
    "DWConvTranspose2d": lambda: DWConvTranspose2d(8, 16, 4, 2, 1),
    "Expand": lambda: Expand(2),
    "GhostBottleneck": lambda: GhostBottleneck(8, 8),
    "GhostBottleneck with stride": lambda: GhostBottleneck(8, 16, 3, 2),
    "GhostConv": lambda: GhostConv(8, 16),
    "MixConv2d": lambda: MixConv2d(8, 16),
    "Sum": lambda: Sum(3),
    "Sum with weights": lambda: Sum(3, True),
    "TransformerBlock": lambda: TransformerBlock(8, 8, 2, 2),
    "TransformerBlock with conv": lambda: TransformerBlock(8, 16, 4, 1),
}


def made(name: str) -> Any:
    torch.manual_seed(0)
    layer = LAYERS[name]()
    for module in layer.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
        if isinstance(module, nn.MultiheadAttention):
            nn.init.normal_(module.in_proj_bias)
            nn.init.normal_(module.out_proj.bias)
    return layer.eval().requires_grad_(False)


def rebuilt(classic: Any, layer: Any) -> Any:
    """The record of the layer, and what is rebuilt from it."""
    homes = {"models.common": COMMON, "models.experimental": EXPERIMENTAL}
    return rebuild_module(read_checkpoint(classic.save(layer, extra=homes), inert=INERT), layer_class)


@pytest.mark.parametrize("name", LAYERS)
def test_a_rebuilt_layer_gives_what_its_formula_gives(classic: Any, name: str) -> None:
    layer = made(name)
    found = rebuilt(classic, layer)
    assert type(found.module) is not type(layer)
    x = torch.randn(2, 8, 6, 4)
    given: Any = [x, x.flip(1), x.flip(2)] if isinstance(layer, Sum) else x
    expected = layer(given)
    assert torch.allclose(found.module(given), expected, rtol=1e-5, atol=1e-6)
    usage = Usage(found.module)
    usage.run(given)
    require_accounted(usage, found.layers, "best.pt")


def test_every_layer_that_is_rebuilt_has_a_test(classic: Any) -> None:
    from adaptrt_ultralytics.classic import layers

    in_networks = {kind.__name__ for kind in classic.homes["models.common"]}
    assert set(layers.LAYERS) <= in_networks | {kind.__name__ for kind in (*COMMON, *EXPERIMENTAL)}
