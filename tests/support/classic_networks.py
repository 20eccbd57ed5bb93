"""A stand-in for the repository ``ultralytics/yolov5``: layers by its names, written from the published descriptions.

Its modules exist only while a checkpoint is saved, so that what reads the file has nothing to import. Their ``forward``
is the plain computation that rebuilt networks are compared with.
"""

from __future__ import annotations

import copy
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn


class Conv(nn.Module):
    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1, act: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, s, k // 2, bias=False)
        self.bn = nn.BatchNorm2d(c2, eps=1e-3, momentum=0.03)
        self.act = act or nn.SiLU()

    def forward(self, x: Any) -> Any:
        return self.act(self.bn(self.conv(x)))

    def fuseforward(self, x: Any) -> Any:
        return self.act(self.conv(x))

    def fuse(self) -> None:
        factor = self.bn.weight / (self.bn.running_var + self.bn.eps).sqrt()
        fused = nn.Conv2d(*self.conv.weight.shape[1::-1], self.conv.kernel_size, self.conv.stride, self.conv.padding)
        fused.weight.data = self.conv.weight.data * factor.data[:, None, None, None]
        fused.bias.data = (self.bn.bias - self.bn.running_mean * factor).data
        self.conv = fused
        del self.bn
        self.forward = self.fuseforward


class Bottleneck(nn.Module):
    def __init__(self, c: int, add: bool, act: nn.Module | None = None) -> None:
        super().__init__()
        self.cv1, self.cv2, self.add = Conv(c, c, 1, act=act), Conv(c, c, 3, act=act), add

    def forward(self, x: Any) -> Any:
        y = self.cv2(self.cv1(x))
        return x + y if self.add else y


class C3(nn.Module):
    def __init__(self, c1: int, c2: int, add: bool = True, act: nn.Module | None = None) -> None:
        super().__init__()
        half = c2 // 2
        self.cv1, self.cv2, self.cv3 = (Conv(*pair, act=act) for pair in ((c1, half), (c1, half), (c2, c2)))
        self.m = nn.Sequential(Bottleneck(half, add, act))

    def forward(self, x: Any) -> Any:
        return self.cv3(torch.cat([self.m(self.cv1(x)), self.cv2(x)], 1))


class BottleneckCSP(nn.Module):
    def __init__(self, c1: int, c2: int, add: bool = True, act: nn.Module | None = None) -> None:
        super().__init__()
        half = c2 // 2
        self.cv1, self.cv4 = Conv(c1, half, act=act), Conv(c2, c2, act=act)
        self.cv2, self.cv3 = nn.Conv2d(c1, half, 1, bias=False), nn.Conv2d(half, half, 1, bias=False)
        self.bn, self.act = nn.BatchNorm2d(c2), nn.LeakyReLU(0.1)
        self.m = nn.Sequential(Bottleneck(half, add, act))

    def forward(self, x: Any) -> Any:
        return self.cv4(self.act(self.bn(torch.cat([self.cv3(self.m(self.cv1(x))), self.cv2(x)], 1))))


class SPP(nn.Module):
    def __init__(self, c1: int, c2: int, act: nn.Module | None = None) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(c1, c1 // 2, act=act), Conv(c1 * 2, c2, act=act)
        self.m = nn.ModuleList(nn.MaxPool2d(k, 1, k // 2) for k in (5, 9, 13))

    def forward(self, x: Any) -> Any:
        x = self.cv1(x)
        return self.cv2(torch.cat([x, *(pool(x) for pool in self.m)], 1))


class SPPF(nn.Module):
    def __init__(self, c1: int, c2: int, act: nn.Module | None = None) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(c1, c1 // 2, act=act), Conv(c1 * 2, c2, act=act)
        self.m = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Any) -> Any:
        pooled = [self.cv1(x)]
        for _ in range(3):
            pooled.append(self.m(pooled[-1]))
        return self.cv2(torch.cat(pooled, 1))


class Focus(nn.Module):
    def __init__(self, c1: int, c2: int, k: int, act: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = Conv(4 * c1, c2, k, act=act)

    def forward(self, x: Any) -> Any:
        corners = [x[:, :, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.conv(torch.cat(corners, 1))


class Concat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.d = 1

    def forward(self, x: Any) -> Any:
        return torch.cat(x, self.d)


class Detect(nn.Module):
    """The head, as the published formulas say it."""

    def __init__(self, nc: int, anchors: list[list[float]], channels: list[int], strides: list[int], old: bool) -> None:
        super().__init__()
        self.nc, self.no, self.nl, self.na = nc, nc + 5, len(anchors), len(anchors[0]) // 2
        self.stride = torch.tensor(strides, dtype=torch.float32)
        pixels = torch.tensor(anchors, dtype=torch.float32).view(self.nl, -1, 2)
        self.register_buffer("anchors", pixels / self.stride.view(-1, 1, 1))
        if old:
            self.register_buffer("anchor_grid", pixels.view(self.nl, 1, -1, 1, 1, 2))
        else:
            self.anchor_grid = [torch.zeros(1)] * self.nl
        self.grid = [torch.zeros(1)] * self.nl
        self.m = nn.ModuleList(nn.Conv2d(c, self.no * self.na, 1) for c in channels)

    def forward(self, features: Any) -> Any:
        levels = []
        for level, feature in enumerate(features):
            x = self.m[level](feature)
            batch, _, rows, columns = x.shape
            x = x.view(batch, self.na, self.no, rows, columns).permute(0, 1, 3, 4, 2)
            x = torch.cat((x[..., : 5 + self.nc].sigmoid(), x[..., 5 + self.nc :]), -1)
            step = self.stride[level]
            cells = torch.stack(torch.meshgrid(torch.arange(columns), torch.arange(rows), indexing="xy"), -1).float()
            sizes = self.anchors[level].float().view(1, self.na, 1, 1, 2) * step
            boxes = torch.cat(((2 * x[..., 0:2] - 0.5 + cells) * step, (2 * x[..., 2:4]) ** 2 * sizes, x[..., 4:]), -1)
            levels.append(boxes.reshape(batch, -1, self.no))
        return torch.cat(levels, 1)


class Proto(nn.Module):
    def __init__(self, c1: int, hidden: int, count: int, act: nn.Module | None = None) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(c1, hidden, 3, act=act), Conv(hidden, hidden, 3, act=act)
        self.upsample, self.cv3 = nn.Upsample(scale_factor=2, mode="nearest"), Conv(hidden, count, act=act)

    def forward(self, x: Any) -> Any:
        return self.cv3(self.cv2(self.upsample(self.cv1(x))))


class Segment(Detect):
    def __init__(self, nc: int, anchors: Any, channels: Any, strides: Any, nm: int, npr: int, act: Any = None) -> None:
        super().__init__(nc, anchors, channels, strides, False)
        self.nm, self.npr, self.no = nm, npr, 5 + nc + nm
        self.m = nn.ModuleList(nn.Conv2d(c, self.no * self.na, 1) for c in channels)
        self.proto = Proto(channels[0], npr, nm, act)
        self.detect = Detect.forward

    def forward(self, features: Any) -> Any:
        return self.detect(self, features), self.proto(features[0]), None


class Classify(nn.Module):
    def __init__(self, c1: int, c2: int, hidden: int, act: nn.Module | None = None) -> None:
        super().__init__()
        self.conv, self.pool = Conv(c1, hidden, act=act), nn.AdaptiveAvgPool2d(1)
        self.drop, self.linear = nn.Dropout(p=0.0, inplace=True), nn.Linear(hidden, c2)

    def forward(self, x: Any) -> Any:
        return self.linear(self.drop(self.pool(self.conv(x)).flatten(1)))


class Model(nn.Module):
    def __init__(self, layers: list[tuple[Any, nn.Module]], names: Any) -> None:
        super().__init__()
        for index, (source, layer) in enumerate(layers):
            layer.i, layer.f, layer.type = index, source, type(layer).__name__
        self.model = nn.Sequential(*(layer for _, layer in layers))
        self.names, self.stride = names, getattr(layers[-1][1], "stride", torch.tensor([8.0, 16.0, 32.0]))
        self.yaml = {"nc": getattr(layers[-1][1], "nc", 2), "backbone": [[-1, 1, "Conv", [8, 6, 2, 2]]]}

    def forward(self, x: Any) -> Any:
        outputs: list[Any] = []
        for layer in self.model:
            previous = [x, *outputs]
            take = lambda source: previous[-1] if source == -1 else outputs[source]  # noqa: E731, B023
            x = layer(take(layer.f) if isinstance(layer.f, int) else [take(source) for source in layer.f])
            outputs.append(x)
        return x


class SegmentationModel(Model):
    pass


class ClassificationModel(Model):
    pass


class CenterCrop:
    def __init__(self, size: int) -> None:
        self.h = self.w = size

    def __call__(self, im: Any) -> Any:
        import cv2

        height, width = im.shape[:2]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return cv2.resize(im[top : top + side, left : left + side], (self.w, self.h), interpolation=cv2.INTER_LINEAR)


HOMES = {
    "models.common": (Conv, Bottleneck, C3, BottleneckCSP, SPP, SPPF, Focus, Concat, Proto, Classify),
    "models.yolo": (Detect, Segment, Model, SegmentationModel, ClassificationModel),
    "utils.augmentations": (CenterCrop,),
}


@contextmanager
def repository(extra: Mapping[str, Sequence[type]] | None = None) -> Iterator[None]:
    """The modules, importable by the names that a pickle will have; ``extra`` classes belong to a fork."""
    more = extra or {}
    homes = {home: (*HOMES.get(home, ()), *more.get(home, ())) for home in (*HOMES, *(more.keys() - HOMES.keys()))}
    made = {name: types.ModuleType(name) for name in ("models", "utils", *homes)}
    before = {kind: kind.__module__ for kinds in homes.values() for kind in kinds}
    for home, kinds in homes.items():
        for kind in kinds:
            kind.__module__ = home
            setattr(made[home], kind.__name__, kind)
    sys.modules.update(made)
    try:
        yield
    finally:
        for kind, module in before.items():
            kind.__module__ = module
        for name in made:
            del sys.modules[name]


@dataclass(frozen=True)
class Classic:
    """Classic networks with made-up weights, and their checkpoints."""

    folder: Path
    homes: Mapping[str, Sequence[type]] = field(default_factory=lambda: HOMES)

    def network(
        self,
        *,
        old: bool = False,
        levels: int = 3,
        nc: int = 3,
        names: Any = None,
        anchors: list[list[float]] | None = None,
        act: Callable[[], nn.Module] = nn.SiLU,
        channels: int = 3,
    ) -> Any:
        """A small P5 or P6 (``levels=4``) network, in the layout of v5 (``old``: Focus, CSP, SPP) or of v6 on."""
        torch.manual_seed(levels * 100 + nc)
        shared = act()
        block = BottleneckCSP if old else C3
        layers: list[tuple[Any, nn.Module]] = [
            (-1, Focus(channels, 8, 3, shared) if old else Conv(channels, 8, 6, 2, shared))
        ]
        if not old:
            layers[0][1].conv.padding = (2, 2)
        layers += [(-1, Conv(8, 8, 3, 2, shared)), (-1, block(8, 8, True, shared)), (-1, Conv(8, 8, 3, 2, shared))]
        features = [3]
        for _ in range(levels - 1):
            layers += [(-1, block(8, 8, True, shared)), (-1, Conv(8, 8, 3, 2, shared))]
            features.append(len(layers) - 1)
        layers += [(-1, (SPP if old else SPPF)(8, 8, shared)), (-1, nn.Upsample(None, 2, "nearest"))]
        layers += [([-1, features[-2]], Concat()), (-1, block(16, 8, False, shared))]
        features[-2] = len(layers) - 1
        anchors = anchors or [[4.0 * 2**level, 5, 9, 8.0 * 2**level, 21, 17] for level in range(levels)]
        strides = [8 * 2**level for level in range(levels)]
        layers.append((features, Detect(nc, anchors, [8] * levels, strides, old)))
        model = Model(layers, names if names is not None else [f"thing{index}" for index in range(nc)])
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.3, 2)
                module.weight.data.uniform_(0.5, 2)
                module.bias.data.normal_(0, 0.3)
        for conv in layers[-1][1].m:
            conv.weight.data.normal_(0, 0.8)
            conv.bias.data.normal_(0, 1)
        return model.eval()

    def trained_segmenter(self) -> Any:
        """The segmentation network trained on the drawn shapes: the detector's layers under classic names, and its head."""
        import shapes_models

        trained = shapes_models.detector()
        layers = [(layer.f, _classic_layer(layer)) for layer in trained.model[:-1]]
        state = shapes_models.classic_head()
        strides, channels = [8, 16, 32], [int(state[f"m.{level}.weight"].shape[1]) for level in range(3)]
        names = [trained.names[index] for index in range(len(trained.names))]
        nm, hidden = state["proto.cv3.conv.weight"].shape[:2]
        head = Segment(len(names), shapes_models.ANCHORS, channels, strides, nm, hidden)
        missing, unexpected = head.load_state_dict(state, strict=False)
        assert not unexpected, unexpected
        assert all(key == "anchors" or key.endswith("num_batches_tracked") for key in missing), missing
        layers.append((trained.model[-1].f, head))
        for module in head.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 1e-3
        return SegmentationModel(layers, names).eval()

    def classifier(self, size: int = 64) -> Any:
        """A classifier with made-up weights, with the transforms that training leaves in it."""
        from torchvision import transforms

        model = self.network()
        model.model[4] = Classify(8, 4, 32, nn.SiLU())
        layers = [(-1, layer) for layer in model.model[:5]]
        made = ClassificationModel(layers, ["circle", "square", "triangle", "star"])
        made.nc, made.save = 4, []
        made.transforms = transforms.Compose([CenterCrop(size), transforms.Normalize([0.485], [0.229])])
        made.model[4].linear.weight.data.normal_(0, 3)
        return made.eval()

    def save(
        self,
        contents: Any,
        name: str = "best.pt",
        new: bool = True,
        extra: Mapping[str, Sequence[type]] | None = None,
    ) -> Path:
        path = self.folder / name
        with repository(extra), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the legacy format wants the sources of classes
            torch.save(contents, path, _use_new_zipfile_serialization=new)
        return path

    def as_trained(self, model: Any) -> dict[str, Any]:
        """What training leaves: half precision, the averaged weights beside the last."""
        last = copy.deepcopy(model)
        for parameter in last.parameters():
            parameter.data.zero_()
        return {"epoch": -1, "model": last.half(), "ema": copy.deepcopy(model).half(), "optimizer": None}


def _classic_layer(layer: Any) -> Any:
    """A layer of the package as the stand-in's: the same children, under the same names."""
    kind = type(layer).__name__
    if kind == "Conv":
        conv = layer.conv
        made: Any = Conv(conv.in_channels, conv.out_channels, conv.kernel_size[0], conv.stride[0], layer.act)
        made.conv.padding, made.bn.eps = conv.padding, layer.bn.eps
        made.load_state_dict(layer.state_dict())
        return made
    if kind == "Upsample":
        return nn.Upsample(None, layer.scale_factor, layer.mode)
    made = {"Concat": Concat, "C3": C3, "SPPF": SPPF, "Bottleneck": Bottleneck, "Sequential": nn.Sequential}[kind]
    made = made.__new__(made)
    nn.Module.__init__(made)
    for name, child in layer.named_children():
        made.add_module(name, nn.MaxPool2d(5, 1, 2) if isinstance(child, nn.MaxPool2d) else _classic_layer(child))
    for name in ("add", "d"):
        if kind != "SPPF" and hasattr(layer, name):
            setattr(made, name, getattr(layer, name))
    return made
