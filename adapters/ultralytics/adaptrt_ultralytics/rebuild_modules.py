"""Rebuilds a pickled network from real classes without executing the pickle.

Unpickling an ``nn.Module`` creates an empty object of its class and fills in its attributes: children, tensors, settings.
This module does the same from stand-ins, but only for classes on an allow-list, and with plain settings only. The result
computes what the original would, regardless of the version and config that created it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from ultralytics.nn.modules.conv import Focus

from adaptrt import CheckpointError
from adaptrt.checkpoint import InertName, InertObject
from adaptrt_ultralytics.accounting import (
    WAYS_OUT,
    Rebuilt,
    Usage,
    missing_in,
    recorded_forward,
    refers_to_method,
    require_accounted,
    require_no_hooks,
)
from adaptrt_ultralytics.torch_layers import LEAVES, build_leaf, load_tensors
from adaptrt_ultralytics.unused import reason_unused

MAX_DEPTH = 40
MAX_MODULES = 100_000  # counted per use: a shared module counts once for each position
MAX_PLAIN_DEPTH, MAX_PLAIN_ITEMS = 9, 100_000
CONTAINERS: Mapping[str, type[nn.Module]] = {"Sequential": nn.Sequential, "ModuleList": nn.ModuleList}
# What a run of training or export leaves behind on a module, and a fresh one should not have.
STALE = frozenset({"export", "format", "dynamic", "xyxy", "shape", "anchors", "strides", "separate_outputs"})
_KEPT = frozenset({*vars(nn.Module()), "_compiled_call_impl"})  # what nn.Module keeps for itself

TAGS = frozenset({"i", "f", "np", "type"})  # attributes that the parsers of both families set on each layer

Classes = Callable[[InertObject], "type[nn.Module] | None"]
Builder = Callable[[InertObject, Callable[[str], nn.Module]], nn.Module]


@dataclass(frozen=True, slots=True)
class RebuiltModule:
    """A rebuilt module, and its layers with their records."""

    module: nn.Module
    layers: Sequence[Rebuilt]


def rebuild_module(
    recorded: InertObject, classes: Classes, replaced: Mapping[str, Builder] | None = None, *, path: str = ""
) -> RebuiltModule:
    """Rebuild a module and everything below it, float32, eval.

    ``classes`` returns the class for the record of a layer; if it returns None, a ``CheckpointError`` names the layer.
    ``replaced`` maps a dotted name to a function that builds the module from the record, checks all of it, and gets a
    function that rebuilds a child. ``path``: the position of the module in its network.
    """
    builder = _Rebuilder(classes, replaced or {})
    return RebuiltModule(builder.module(recorded, path).eval(), builder.layers)


def check_runs(
    model: nn.Module,
    source: str,
    strides: torch.Tensor,
    shape: Callable[[int], Sequence[int]],
    layers: Sequence[Rebuilt] = (),
    channels: int = 3,
) -> None:
    """Run a rebuilt network once on a small image, because a well-formed file may still not be a working network.

    ``shape``: the output shape for one image, given the number of cells of all levels, which follows from the strides.
    ``layers``: the layers with their records; anything recorded that the run does not use is rejected by name.
    """
    steps = [int(step) for step in strides]
    size = 2 * max(*steps, 32)
    if size > 1024 or any(size % step for step in steps):
        raise CheckpointError(f"{source} has invalid strides: {steps}.")
    expected = list(shape(sum((size // step) ** 2 for step in steps)))
    usage = Usage(model)
    try:
        output = usage.run(torch.zeros(1, channels, size, size))
    except Exception as error:  # from anywhere in its layers
        reason = str(error).partition("\n")[0]
        other = missing_in(error, layers, usage)
        raise CheckpointError(
            f"The network in {source} does not run on an image: {f'{other} ({reason})' if other else reason}",
            hint=WAYS_OUT if other else None,
        ) from error
    found = list(output.shape)
    if found != expected:
        raise CheckpointError(f"The network in {source} returns an output of shape {found} instead of {expected}.")
    require_accounted(usage, layers, source)


def input_channels(model: nn.Module) -> int:
    """The number of image channels: that of the first convolution, or a quarter of it after ``Focus``."""
    for module in model.modules():
        if isinstance(module, Focus):
            return int(module.conv.conv.in_channels) // 4
        if isinstance(module, nn.Conv2d):
            return int(module.in_channels)
    return 3


class _Rebuilder:
    def __init__(self, classes: Classes, replaced: Mapping[str, Builder]) -> None:
        self.classes = classes
        self.replaced = replaced
        self.done: dict[int, nn.Module | None] = {}
        self.layers: list[Rebuilt] = []
        self.counts: dict[int, int] = {}  # the module and all below it, shared ones once for each place

    def module(self, recorded: Any, where: str, depth: int = 0) -> nn.Module:
        if not isinstance(recorded, InertObject) or depth > MAX_DEPTH:
            raise CheckpointError(f"The network in this checkpoint is malformed at {where or 'its root'}.")
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
            raise CheckpointError(
                f"Layer {where or 'model'} ({recorded.path}) cannot be rebuilt: {reason}.", hint=WAYS_OUT
            ) from error
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
        require_no_hooks(recorded, where)
        if recorded.path in self.replaced:
            return self.replaced[recorded.path](recorded, child)
        name = recorded.name
        in_torch = recorded.path.startswith("torch.nn.modules.")
        leaf = in_torch and name in LEAVES
        kind = (LEAVES if leaf else CONTAINERS).get(name) if in_torch else self.classes(recorded)
        if kind is None:
            raise CheckpointError(
                f"The class of layer {where or 'model'} cannot be rebuilt: {recorded.path}.",
                hint="For the supported layers, see the page 'Convert your own YOLOv5 checkpoint' of the documentation. "
                f"{WAYS_OUT}",
            )
        if leaf:
            module = build_leaf(recorded)
            module.__dict__.update({key: value for key, value in plain_settings(recorded, kind).items() if key in TAGS})
        else:
            module = kind.__new__(kind)
            nn.Module.__init__(module)
            module.__dict__.update(plain_settings(recorded, kind))
        for key, value in children.items():
            module._modules[key] = None if value is None else child(key)
        load_tensors(module, recorded)
        if not leaf and kind.__setstate__ is not nn.Module.__setstate__:
            kind.__setstate__(module, {})  # type: ignore[no-untyped-call]  # its own care for files of older versions
        method = recorded_forward(recorded, kind, where)
        if method is not None:
            module.__dict__["forward"] = getattr(module, method)
        self.layers.append(Rebuilt(where, module, recorded, settled=leaf))
        return module


def plain_settings(recorded: InertObject, kind: type[nn.Module]) -> dict[str, Any]:
    """The attributes that are data: numbers, text, tensors, and containers of these.

    Attributes that inference does not use may be anything: data is kept (unless it remains from an export), the rest is
    dropped. Raises a ``ValueError`` for any other attribute that is not data, or that hides a method of the class.
    """
    settings = {}
    for name, value in recorded.attributes.items():
        hides = getattr(kind, name, None)
        if name in _KEPT or name == "forward" or isinstance(hides, property):  # a property wins over an attribute
            continue
        if name == "detect" and not refers_to_method(value, "Detect", "forward"):
            raise ValueError(f"its detect is {_described(value)}, and not Detect.forward")
        unused = reason_unused(recorded.name, name) is not None
        if unused and (name in STALE or callable(hides)):
            continue
        if name.startswith("__") or callable(hides):
            raise ValueError(f"it replaces {name} of its class with {_described(value)}")
        if isinstance(value, torch.Tensor):
            settings[name] = value.float() if value.is_floating_point() else value
        elif is_plain(value):
            settings[name] = value
        elif not unused:
            raise ValueError(f"its {name} is {_described(value)}, which is not data")
    return settings


def _described(value: Any) -> str:
    return value.path if isinstance(value, (InertName, InertObject)) else type(value).__name__


def is_plain(value: Any) -> bool:
    """Whether this is data: numbers, text, and containers of these, of limited depth and size.

    A pickle may reference the same list many times at every level, so the total size is not bounded by the file size.
    """
    items, left = [value], MAX_PLAIN_ITEMS
    for _ in range(MAX_PLAIN_DEPTH):
        inner: list[Any] = []
        for item in items:
            if isinstance(item, (list, tuple, dict, range)):
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
