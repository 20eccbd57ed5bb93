"""Rebuilds a pickled network from real classes without executing the pickle.

Unpickling an ``nn.Module`` creates an empty object of its class and fills in its attributes: children, tensors, settings.
This module does the same from stand-ins, but only for classes on an allow-list, and with plain settings only. The result
computes what the original would, regardless of the version and config that created it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from adaptrt import CheckpointError
from adaptrt.checkpoint import InertObject
from adaptrt_ultralytics.torch_layers import LEAVES, build_leaf, load_tensors

MAX_DEPTH = 40
MAX_MODULES = 100_000  # counted per use: a shared module counts once for each position
MAX_PLAIN_DEPTH, MAX_PLAIN_ITEMS = 9, 100_000
CONTAINERS: Mapping[str, type[nn.Module]] = {"Sequential": nn.Sequential, "ModuleList": nn.ModuleList}
# Attributes that training or export leaves on a module; a new module should not have them.
STALE = frozenset({"training", "export", "format", "dynamic", "xyxy", "shape", "anchors", "strides"})

TAGS = frozenset({"i", "f", "np", "type"})  # attributes that the parsers of both families set on each layer

Classes = Callable[[str], "type[nn.Module] | None"]
Builder = Callable[[InertObject, Callable[[str], nn.Module]], nn.Module]


def graft(recorded: InertObject, classes: Classes, replaced: Mapping[str, Builder] | None = None) -> nn.Module:
    """Rebuild a module and everything below it, float32, eval.

    ``classes`` gives the class for a recorded dotted name, or None: then a ``CheckpointError`` names the layer.
    ``replaced``: dotted name to a function that builds the module from the record; its second argument is a function that
    rebuilds a child.
    """
    return _Graft(classes, replaced or {}).module(recorded, "").eval()


def check_runs(model: nn.Module, source: str, strides: torch.Tensor, shape: tuple[int, int], cells_axis: int) -> None:
    """Run a rebuilt network once on a small image: a well-formed file can still hold a broken network.

    ``shape``: output shape for one image, with size 1 on ``cells_axis``; the strides determine the number of cells.
    """
    steps = [int(step) for step in strides]
    size = 2 * max(steps)
    if size > 1024 or any(size % step for step in steps):
        raise CheckpointError(f"{source} has invalid strides: {steps}.")
    expected = list(shape)
    expected[cells_axis] *= sum((size // step) ** 2 for step in steps)
    try:
        with torch.no_grad():  # not inference_mode: heads cache their grid
            output = model(torch.zeros(1, 3, size, size))
    except Exception as error:  # any of its layers may raise
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"The network in {source} fails on an image: {reason}") from error
    found = list((output[0] if isinstance(output, tuple) else output).shape)
    if found != [1, *expected]:
        raise CheckpointError(f"The network in {source} returns an output of shape {found}; expected {[1, *expected]}.")


class _Graft:
    def __init__(self, classes: Classes, replaced: Mapping[str, Builder]) -> None:
        self.classes = classes
        self.replaced = replaced
        self.done: dict[int, nn.Module | None] = {}
        self.counts: dict[int, int] = {}  # the module and its descendants, shared ones counted per use

    def module(self, recorded: Any, where: str, depth: int = 0) -> nn.Module:
        if not isinstance(recorded, InertObject) or depth > MAX_DEPTH:
            raise CheckpointError(f"The network in this checkpoint is malformed at {where or 'the top'}.")
        key = id(recorded)  # one activation is often shared by every layer
        if key in self.done:
            module = self.done[key]
            if module is None:
                raise CheckpointError(f"The network in this checkpoint contains itself at {where}.")
            return module
        self.done[key] = None
        try:
            module = self._build(recorded, where, depth)
        except (ValueError, TypeError, RuntimeError, AttributeError) as error:
            reason = str(error).partition("\n")[0]
            raise CheckpointError(f"Cannot rebuild layer {where or 'model'} ({recorded.path}): {reason}.") from error
        self.done[key] = module
        self.counts[key] = 1 + sum(self.counts.get(id(child), 0) for child in recorded.mapping("_modules").values())
        if self.counts[key] > MAX_MODULES:
            raise CheckpointError(f"The network in this checkpoint has more than {MAX_MODULES} layers at {where}.")
        return module

    def _build(self, recorded: InertObject, where: str, depth: int) -> nn.Module:
        def child(name: str) -> nn.Module:
            path = f"{where}.{name}" if where else name
            return self.module(children.get(name), path, depth + 1)

        children = recorded.mapping("_modules")

        if recorded.path in self.replaced:
            return self.replaced[recorded.path](recorded, child)
        name = recorded.name
        in_torch = recorded.path.startswith("torch.nn.modules.")
        if in_torch and name in LEAVES:
            module = build_leaf(recorded)
            module.__dict__.update(
                {key: value for key, value in plain_settings(recorded, nn.Module).items() if key in TAGS}
            )
        else:
            kind = CONTAINERS.get(name) if in_torch else self.classes(recorded.path)
            if kind is None:
                raise CheckpointError(
                    f"Unsupported class of layer {where or 'model'}: {recorded.path}.",
                    hint="Supported are the layers of YOLOv5, v8, v11 and v12.",
                )
            module = kind.__new__(kind)
            nn.Module.__init__(module)
            for key, value in children.items():
                module._modules[key] = None if value is None else child(key)
            module.__dict__.update(plain_settings(recorded, kind))
            folded = hasattr(kind, "forward_fuse") and "conv" in module._modules and "bn" not in module._modules
            if folded or "forward" in recorded.attributes:
                # Fused before saving: BatchNorm is folded into the convolution, and forward refers to the fused variant.
                module.__dict__["forward"] = module.forward_fuse
        load_tensors(module, recorded)
        return module


def plain_settings(recorded: InertObject, kind: type[nn.Module]) -> dict[str, Any]:
    """The attributes that are data (numbers, text, tensors, and containers of these) and do not shadow a method."""
    settings = {}
    for name, value in recorded.attributes.items():
        hides = getattr(kind, name, None)
        if name.startswith("_") or name in STALE or callable(hides) or isinstance(hides, property):
            continue
        if isinstance(value, torch.Tensor):
            settings[name] = value.float() if value.is_floating_point() else value
        elif is_plain(value):
            settings[name] = value
    return settings


def is_plain(value: Any) -> bool:
    """Whether this is data: numbers, text, and containers of these, of limited depth and size.

    A pickle may reference the same list many times at every level, so the total size is not bounded by the file size.
    """
    items, left = [value], MAX_PLAIN_ITEMS
    for _ in range(MAX_PLAIN_DEPTH):
        inner: list[Any] = []
        for item in items:
            if isinstance(item, (list, tuple, dict)):
                left -= len(item)
                if left < 0:
                    return False
                inner.extend(item)
                inner.extend(item.values() if isinstance(item, dict) else ())
            elif not (item is None or isinstance(item, (bool, int, float, str))):
                return False
        if not inner:
            return True
        items = inner
    return False
