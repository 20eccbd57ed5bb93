"""Rebuilds networks from classic YOLOv5 checkpoints."""

from __future__ import annotations

import reprlib
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from adaptrt.checkpoint import InertObject
from adaptrt_ultralytics.checkpoints import CLASSIC_MODULES, SUPPORTED, Checkpoint, open_checkpoint
from adaptrt_ultralytics.classic.head import AnchorDetect, AnchorSegment, Classify
from adaptrt_ultralytics.classic.layers import layer_class
from adaptrt_ultralytics.classic.records import check_head, check_masks, require_known
from adaptrt_ultralytics.rebuild_modules import Builder, check_runs, input_channels, is_plain, rebuild_module

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

_HEADS = (AnchorDetect, AnchorSegment, Classify)
MAX_PROTOTYPES = 1024


class ClassicModel(nn.Module):
    """Anchor-based YOLOv5: images float32 [B, C, H, W], 0..1 (RGB where C is 3), to what ``task`` says.

    - ``detect``: float32 [B, N, 5 + nc] (see ``AnchorDetect``)
    - ``segment``: float32 [B, N, 5 + nc + nm], and prototypes [B, nm, H / 4, W / 4]
    - ``classify``: logits, float32 [B, nc], of normalized images (see ``classic_family``)

    H and W are multiples of the largest of ``stride``. ``names``: class index to name. ``yaml``: the config it was
    trained with. ``size``: height and width that a classifier was trained on, if the checkpoint says it.
    """

    def __init__(
        self,
        layers: nn.Sequential,
        names: Mapping[int, str],
        yaml: Mapping[str, Any],
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.model = layers
        self.names = dict(names)
        self.nc = len(names)
        self.yaml = dict(yaml)
        self.task = {AnchorDetect: "detect", AnchorSegment: "segment", Classify: "classify"}[type(layers[-1])]
        self.size = size
        self.channels = input_channels(layers)
        self.save = frozenset(
            source % len(layers) if source < 0 else source
            for layer in layers
            for source in _sources(layer)
            if source != -1
        )

    @property
    def head(self) -> AnchorDetect | None:
        """What decodes boxes; ``None`` for a classifier."""
        head = self.model[-1]
        head = head.detect if isinstance(head, AnchorSegment) else head
        return head if isinstance(head, AnchorDetect) else None

    @property
    def stride(self) -> Tensor:
        """Of each level; 1 for a classifier, which takes any size."""
        return torch.ones(1) if self.head is None else self.head.stride

    def forward(self, images: Tensor) -> Any:
        x: Any = images
        kept: dict[int, Any] = {}
        for index, layer in enumerate(self.model):
            inputs = [x if source == -1 else kept[source % index] for source in _sources(layer)]
            x = layer(inputs[0] if isinstance(layer.f, int) else inputs)
            if index in self.save:
                kept[index] = x
        return x


def load_classic(path: str | os.PathLike[str]) -> ClassicModel:
    """A classic checkpoint as a network, float32, eval, without gradients. The pickle is never executed."""
    return network_from_checkpoint(open_checkpoint(path))


def network_from_checkpoint(checkpoint: Checkpoint) -> ClassicModel:
    """Rebuild a checkpoint of the classic family."""
    if checkpoint.family != "classic":
        raise checkpoint.error("not a classic YOLOv5 checkpoint, but one of the package ultralytics.")
    recorded = checkpoint.model
    root = recorded.mapping("_modules").get("model")
    if not isinstance(root, InertObject):
        raise checkpoint.error("the network has no layers.", SUPPORTED)
    builders = {"Detect": _head_builder(checkpoint), "Segment": _masks_builder(checkpoint)}
    heads = {f"{module}.{name}": builder for module in CLASSIC_MODULES for name, builder in builders.items()}
    require_known(recorded)
    rebuilt = rebuild_module(root, layer_class, heads, path="model")
    layers = rebuilt.module
    if not isinstance(layers, nn.Sequential) or len(layers) < 2 or type(layers[-1]) not in _HEADS:
        raise checkpoint.error("the network does not end in a head of the repository.", SUPPORTED)
    _check_wiring(checkpoint, layers)
    head = layers[-1].detect if isinstance(layers[-1], AnchorSegment) else layers[-1]
    classes = int(head.linear.out_features) if isinstance(head, Classify) else head.nc
    yaml = recorded.get("yaml")
    model = ClassicModel(
        layers, _names(checkpoint, classes), yaml if _is_config(yaml) else {}, _crop_of(recorded.get("transforms"))
    )

    def shape(cells: int) -> tuple[int, ...]:
        return (1, classes) if model.head is None else (1, model.head.na * cells, model.head.no)

    check_runs(model, str(checkpoint.path), model.stride, shape, layers=rebuilt.layers, channels=model.channels)
    return model.eval().requires_grad_(False)


def _crop_of(transforms: Any) -> tuple[int, int] | None:
    """Height and width of the ``CenterCrop`` that a classifier's checkpoint records among its transforms."""
    steps = transforms.get("transforms") if isinstance(transforms, InertObject) else None
    for step in steps if isinstance(steps, list) else ():
        if isinstance(step, InertObject) and step.name == "CenterCrop":
            sides = (step.get("h"), step.get("w"))
            if all(type(side) is int and 0 < side <= 4096 for side in sides):
                return sides
    return None


def _sources(layer: nn.Module) -> list[int]:
    """Indices of the layers that feed this one; -1 is the previous layer."""
    source = layer.f
    return [source] if isinstance(source, int) else list(source)  # type: ignore[arg-type]


def _is_config(yaml: Any) -> bool:
    return isinstance(yaml, dict) and is_plain(yaml)


def _check_wiring(checkpoint: Checkpoint, layers: nn.Sequential) -> None:
    for index, layer in enumerate(layers):
        source, place = layer.__dict__.get("f"), layer.__dict__.get("i", index)
        if place != index:
            raise checkpoint.error(f"layer {index} records the index {reprlib.repr(place)}.", SUPPORTED)
        sources = source if isinstance(source, (list, tuple)) else [source]
        if not sources or not all(
            type(each) is int and -index <= each < max(index, 1) for each in sources if each != -1
        ):
            raise checkpoint.error(f"layer {index} has an invalid input index: {reprlib.repr(source)}.", SUPPORTED)


def _names(checkpoint: Checkpoint, nc: int) -> dict[int, str]:
    names = checkpoint.model.get("names")
    if isinstance(names, (list, tuple)):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or set(names) != set(range(nc)) or not is_plain(names):
        return {index: f"class{index}" for index in range(nc)}  # trained without names, or with too few
    return {index: str(names[index]) for index in range(nc)}


def _head_builder(checkpoint: Checkpoint) -> Builder:
    def build(recorded: InertObject, child: Callable[[str], nn.Module]) -> nn.Module:
        check_head(recorded)
        head = _anchor_head(checkpoint, recorded, child, 0)
        head.__dict__.update(_tags(recorded))
        return head

    return build


def _masks_builder(checkpoint: Checkpoint) -> Builder:
    def build(recorded: InertObject, child: Callable[[str], nn.Module]) -> nn.Module:
        check_masks(recorded)
        count = recorded.get("nm")
        if type(count) is not int or not 0 < count <= MAX_PROTOTYPES:
            raise ValueError(f"its number of prototypes is {reprlib.repr(count)}")
        head = AnchorSegment(_anchor_head(checkpoint, recorded, child, count), child("proto"))
        head.__dict__.update(_tags(recorded))
        return head

    return build


def _tags(recorded: InertObject) -> dict[str, Any]:
    return {"f": recorded.get("f"), "i": recorded.get("i"), "type": recorded.path}


def _anchor_head(
    checkpoint: Checkpoint, recorded: InertObject, child: Callable[[str], nn.Module], extras: int
) -> AnchorDetect:
    convs = child("m")
    anchors, stride = _anchors(checkpoint, recorded)
    levels, count = anchors.shape[:2]
    widths = {int(conv.out_channels) for conv in convs if isinstance(conv, nn.Conv2d)}  # type: ignore[attr-defined]
    if not isinstance(convs, nn.ModuleList) or len(convs) != levels or len(widths) != 1:
        raise ValueError(f"it has {levels} levels of anchors, but not one convolution per level")
    width = widths.pop()
    classes = width // count - 5 - extras
    if width % count or classes < 1:
        raise ValueError(f"{width} channels cannot be divided among {count} anchors")
    for name, number in (("no", classes + 5 + extras), ("nc", classes), ("na", count), ("nl", levels)):
        if recorded.get(name, number) != number:
            raise ValueError(f"its {name} is {reprlib.repr(recorded.get(name))}, but its tensors require {number}")
    return AnchorDetect(list(convs), anchors, stride, classes, extras)


def _anchors(checkpoint: Checkpoint, recorded: InertObject) -> tuple[Tensor, Tensor]:
    """Anchors in input pixels, float32 [nl, na, 2], and strides, float32 [nl].

    ``anchors`` are in cells. Up to v5.0 there is also a buffer ``anchor_grid`` [nl, 1, na, 1, 1, 2] in pixels, which is
    what the network multiplied with; from v6.0 on that is ``anchors * stride``, made anew for each input.
    """
    stride = recorded.get("stride")
    stride = checkpoint.model.get("stride") if not isinstance(stride, Tensor) else stride
    buffers = recorded.mapping("_buffers")
    anchors, pixels = buffers.get("anchors"), buffers.get("anchor_grid")
    if not isinstance(anchors, Tensor) or anchors.ndim != 3 or anchors.shape[2] != 2 or not anchors.numel():
        raise ValueError("it has no anchors")
    if not isinstance(stride, Tensor) or stride.shape != anchors.shape[:1]:
        raise ValueError("it has no strides")
    stride = stride.float()
    if isinstance(pixels, Tensor) and pixels.numel() == anchors.numel():
        anchors = pixels.float().reshape(anchors.shape)
    else:
        anchors = anchors.float() * stride.reshape(-1, 1, 1)
    if not bool(torch.isfinite(anchors).all()) or not bool((anchors > 0).all()) or not bool((stride > 0).all()):
        raise ValueError("its anchors and strides must be positive")
    return anchors, stride
