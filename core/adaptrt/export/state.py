"""The state of a model as comparable values: parameters, buffers, attributes, hooks, and code."""

from __future__ import annotations

import functools
import itertools
import random
import zlib
from collections.abc import Iterable, Mapping
from types import FunctionType, GeneratorType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

Fingerprint = Mapping[str, Any]

_TORCHS = frozenset(vars(nn.Module()))
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_DEPTH = 4  # of containers in attributes
_MOST = 20_000  # values inside an object


def fingerprint(model: nn.Module) -> Fingerprint:
    """A value for each part by name ("buffer `norm.running_mean`", "attribute `calls`", "object `counter`", "method
    `Block.forward`"), which changes when the part does.

    An attribute that is not a plain value is compared by identity, and as ``object`` by what is inside it: attributes, to a
    depth of 4, what a function or generator holds, and the state of random number generators.
    """
    found: dict[str, Any] = {}
    known = {id(module) for module in model.modules()}
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        if isinstance(module, torch.jit.ScriptModule):  # whose parts are made anew whenever they are asked for
            found |= {f"buffer `{prefix}{name}`": _value(tensor) for name, tensor in module.state_dict().items()}
            continue
        found[f"module `{path or type(model).__name__}`"] = (id(module), type(module), module.training)
        for kind, tensors in (("parameter", module._parameters), ("buffer", module._buffers)):
            found |= {f"{kind} `{prefix}{name}`": _value(tensor) for name, tensor in tensors.items()}
        for name, value in vars(module).items():
            if name not in _TORCHS:
                found[f"attribute `{prefix}{name}`"] = _value(value)
                inside = _Inside(known).of(value)
                if inside is not None:
                    found[f"object `{prefix}{name}`"] = inside
        hooks = [id(hook) for held in _HOOKS for hook in getattr(module, held).values()]
        found[f"hooks of `{path or type(model).__name__}`"] = tuple(hooks)
    classes = {one for module in model.modules() for one in type(module).__mro__} - {object, nn.Module}
    for one in classes:
        found |= {
            f"method `{one.__qualname__}.{name}`": id(value)
            for name, value in vars(one).items()
            if callable(value) or isinstance(value, (staticmethod, classmethod, property))
        }
    return found


def changed(before: Fingerprint, after: Fingerprint) -> list[str]:
    """Names that were added, removed or changed."""
    names = dict.fromkeys([*before, *after])
    return [name for name in names if name not in before or name not in after or before[name] != after[name]]


def written_parts(names: list[str]) -> list[str]:
    """The names that a forward may modify: parameters, buffers, attributes and what is inside them."""
    return [name for name in names if name.startswith(("parameter", "buffer", "attribute", "object"))]


def _value(value: Any, depth: int = 0) -> Any:
    if isinstance(value, torch.Tensor):
        return _tensor(value)
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, torch.dtype, torch.Size)):
        return (type(value).__name__, repr(value))
    if depth < _DEPTH and isinstance(value, (list, tuple, set, frozenset)):
        return (type(value).__name__, [_value(one, depth + 1) for one in value])
    if depth < _DEPTH and isinstance(value, Mapping):
        return (type(value).__name__, [(repr(key), _value(one, depth + 1)) for key, one in value.items()])
    if hasattr(value, "__array_interface__"):
        return ("array", zlib.crc32(value.tobytes()), value.shape)
    return ("object", id(value))


def _tensor(value: torch.Tensor) -> Any:
    if value.layout != torch.strided or value.device.type != "cpu":
        return ("tensor", id(value), value._version)
    data = value.detach().contiguous().reshape(-1).view(torch.uint8) if value.numel() else value.detach()
    return (
        "tensor",
        value.dtype,
        tuple(value.shape),
        zlib.crc32(data.numpy().tobytes() if data.numel() == 0 else data.numpy().data),
    )


def attributes(names: Iterable[str]) -> list[str]:
    """The names of attributes and objects, which a trace may leave changed: mostly caches."""
    return [name for name in names if name.startswith(("attribute", "object"))]


def objects(names: Iterable[str]) -> list[str]:
    """The names of objects: caches inside them also change when the model runs with other sizes."""
    return [name for name in names if name.startswith("object")]


class _Inside:
    """What is inside an object, each object once, and none that is ``known``."""

    def __init__(self, known: set[int]) -> None:
        self.seen = set(known)
        self.left = _MOST

    def of(self, value: Any, depth: int = 0) -> Any:
        """``None`` for what ``_value`` compares by value."""
        if depth > _DEPTH or self.left <= 0 or id(value) in self.seen:
            return None
        self.left -= 1
        parts = _parts(value)
        if parts is None:
            return None
        self.seen.add(id(value))
        if not isinstance(parts, dict):
            return parts
        plain = isinstance(value, (list, tuple, set, frozenset, Mapping))
        found = [
            (name, None if plain else _value(part, depth), self.of(part, depth + 1)) for name, part in parts.items()
        ]
        return None if plain and all(inside is None for *_, inside in found) else found


def _parts(value: Any) -> Any:
    """The parts of an object by name, or its state as one value; ``None`` without any."""
    if isinstance(value, (type, ModuleType, torch.Tensor, torch.jit.ScriptModule)):
        return None
    if isinstance(value, (list, tuple, set, frozenset)):
        return dict(enumerate(value))
    if isinstance(value, Mapping):
        return {repr(key): part for key, part in value.items()}
    if isinstance(value, (itertools.count, itertools.repeat)):
        return repr(value)
    if isinstance(value, torch.Generator):
        return _tensor(value.get_state())
    if isinstance(value, (np.random.Generator, np.random.RandomState)):
        generator = value if isinstance(value, np.random.RandomState) else value.bit_generator
        return repr(generator.get_state() if isinstance(generator, np.random.RandomState) else generator.state)
    if isinstance(value, random.Random):
        return hash(value.getstate())
    if isinstance(value, GeneratorType):
        return {
            "line": value.gi_frame and value.gi_frame.f_lasti,
            **(value.gi_frame.f_locals if value.gi_frame else {}),
        }
    if isinstance(value, FunctionType):
        cells = value.__closure__ or ()
        held = dict(zip(value.__code__.co_freevars, map(_cell, cells), strict=True)) | vars(value)
        return held or None
    if isinstance(value, MethodType):
        return None if isinstance(value.__self__, torch.nn.Module) else {"self": value.__self__}
    if isinstance(value, functools.partial):
        return {"function": value.func, "arguments": value.args, "keywords": value.keywords}
    slots = {name for one in type(value).__mro__ for name in _slots(one)}
    found = {name: getattr(value, name) for name in sorted(slots) if hasattr(value, name)}
    return found | (vars(value) if hasattr(value, "__dict__") else {}) or None


def _cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return None


def _slots(kind: type) -> Iterable[str]:
    slots = vars(kind).get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return [name for name in names if name not in ("__dict__", "__weakref__") and not name.startswith("__")]
