"""A user's folder with networks of his own, and programs made from one of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs torch")

NETS = '''
from typing import NamedTuple

import torch
from torch import nn


class Answer(NamedTuple):
    score: torch.Tensor
    best: torch.Tensor


class Tokens(nn.Module):
    """x [B, N, 6], ids [B, N], mask [B, N] to outputs of all kinds."""

    def __init__(self, width=4, classes=3):
        super().__init__()
        self.embed = nn.Embedding(9, width)
        self.proj = nn.Linear(6, width)
        self.head = nn.Linear(width, classes)

    def forward(self, x, ids, mask=None):
        y = self.proj(x) + self.embed(ids)
        if mask is not None:
            y = y * mask.unsqueeze(-1)
        pooled = y.mean(1)
        return {"tokens": y, "logits": self.head(pooled), "answer": Answer(pooled.sum(1), pooled.amax(1))}


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, batch, pair, gain=None):
        return batch["image"] * self.scale + batch["extra"] + pair[0] - pair[1]


class Reads(nn.Module):
    """A line of text: images [B, 1, H, W] to logits [B, W / 4, 5], by a recurrent network of two layers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.AdaptiveAvgPool2d((1, None))
        )
        self.rnn = nn.LSTM(8, 8, 2, bidirectional=True)
        self.head = nn.Linear(16, 5)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.5)

    def forward(self, images):
        steps = self.features(images).squeeze(2).permute(2, 0, 1)
        return self.head(self.rnn(steps)[0]).permute(1, 0, 2)


class Positions(nn.Module):
    """x [B, N, 6] and one position for each of the N, which has no batch."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 6)

    def forward(self, x, positions):
        return self.linear(x) * positions[:, None]


class ImageArray(nn.Module):
    def __init__(self, classes=4):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2, 1)
        self.head = nn.Linear(8, classes)

    def forward(self, images):
        return self.head(self.conv(images).relu().mean((2, 3)))


class Vector(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x, mask):
        y = self.linear(x) * mask
        for _ in range(int(y.shape[1])):
            y = y + 1
        return {"y": y, "n": x.sum(1)}


class Finds(nn.Module):
    """How many results there are depends on what is in x."""

    def forward(self, x):
        return {"twice": x * 2, "places": (x > 0.5).nonzero(), "total": x.sum()}


class Bakes(nn.Module):
    """Reads its batch as a number."""

    def forward(self, x):
        rows = int(x.shape[0])
        return x.sum(1, keepdim=True).expand(rows, 3) * 2 + torch.zeros(rows, 3)


def build(classes):
    """A factory."""
    return ImageArray(classes)


def fetch(weights=True):
    if weights:
        torch.hub.load_state_dict_from_url("https://example.invalid/a.pth")
    return ImageArray()


class Space:
    ready = ImageArray(2)


def number():
    return 3
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with ``nets.py`` in it."""
    (tmp_path / "nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def conversion(folder: Path) -> Callable[..., Any]:
    """What hooks get as ``ctx``: ``conversion(source, shape=[...], options={...}, weights=...)``."""
    from adaptrt import Conversion, Request, ShapeRequest
    from adaptrt.options import fill_options
    from adaptrt.specs import parse_shapes
    from adaptrt_torch.options import TorchOptions

    def make(
        source: str,
        shape: tuple[str, ...] = (),
        imgsz: Any = None,
        batch: Any = None,
        options: dict[str, Any] | None = None,
        **rest: Any,
    ) -> Conversion:
        shapes = ShapeRequest(imgsz=imgsz, batch=batch, shapes=parse_shapes(shape))
        options = options or {}
        request = Request(source, "torch", shapes=shapes, options=options, **rest)
        return Conversion(request, fill_options(TorchOptions, options), folder)

    return make
