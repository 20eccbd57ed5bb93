"""The state of a model as comparable values: parameters, buffers, attributes, hooks, and code."""

from __future__ import annotations

import functools
import itertools
import random
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FunctionType, GeneratorType, MethodType, ModuleType, NoneType
from typing import Any

import numpy as np
import torch
from torch import nn

Fingerprint = Mapping[str, Any]

_TORCHS = frozenset(vars(nn.Module()))
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_DEPTH = 4  # of containers in attributes
_MOST = 20_000  # objects inside an attribute
_PLAIN = (NoneType, bool, int, float, complex, str, bytes, torch.dtype, torch.Size)
_CONTAINERS = (list, tuple, set, frozenset, deque)


def fingerprint(model: nn.Module) -> Fingerprint:
    """A value for each part by name ("buffer `norm.running_mean`", "attribute `calls`", "object `counter`", "method
    `Block.forward`"), which changes when the part does.

    An attribute that is not a plain value is compared by identity, and as ``object`` by what is inside it: attributes, to a
    depth of 4, what a function or generator holds, and the state of random number generators. A part that cannot be read is
    compared by identity.
    """
    found: dict[str, Any] = {}
    reader = _Reader({id(module) for module in model.modules()})
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        if isinstance(module, torch.jit.ScriptModule):  # whose parts are made anew whenever they are asked for
            found |= {f"buffer `{prefix}{name}`": reader.value(tensor) for name, tensor in module.state_dict().items()}
            continue
        found[f"module `{path or type(model).__name__}`"] = (id(module), type(module), module.training)
        for kind, tensors in (("parameter", module._parameters), ("buffer", module._buffers)):
            found |= {f"{kind} `{prefix}{name}`": reader.value(tensor) for name, tensor in tensors.items()}
        for name, value in vars(module).items():
            if name not in _TORCHS:
                found[f"attribute `{prefix}{name}`"] = reader.value(value)
                inside = reader.inside(value)
                if inside is not None:
                    found[f"object `{prefix}{name}`"] = inside
        hooks = [id(hook) for held in _HOOKS for hook in getattr(module, held).values()]
        found[f"hooks of `{path or type(model).__name__}`"] = tuple(hooks)
    classes = {one for module in model.modules() for one in type(module).__mro__} - {object, nn.Module}
    for one in classes:
        found |= {
            f"method `{one.__qualname__}.{name}`": id(value)
            for name, value in vars(one).items()
            if callable(value) or issubclass(type(value), (staticmethod, classmethod, property))
        }
    return found


def changed(before: Fingerprint, after: Fingerprint) -> list[str]:
    """Names that were added, removed or changed."""
    names = dict.fromkeys([*before, *after])
    return [name for name in names if name not in before or name not in after or before[name] != after[name]]


def modified(
    before: Fingerprint, after: Fingerprint, written: Sequence[str] = (), *, exporting: bool = False
) -> list[str]:
    """What was changed by something other than the model: neither ``written`` by its forward nor possibly a cache.

    Caches inside objects may be filled whenever the model runs or is read, attributes only while ``exporting``, where a
    trace takes other paths. A function that is added is not a cache: it may replace a method.
    """

    def is_cache(name: str) -> bool:
        if not name.startswith("attribute"):
            return name.startswith("object")
        return exporting and (name in before or after[name][0] != "function")

    return [name for name in changed(before, after) if name not in written and not is_cache(name)]


def written_parts(names: list[str]) -> list[str]:
    """The names that a forward may modify: parameters, buffers, attributes and what is inside them."""
    return [name for name in names if name.startswith(("parameter", "buffer", "attribute", "object"))]


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


class _Reader:
    """The values and insides of objects, each read once, and of none that is ``known``.

    Results are kept together with their objects: Python reuses the id of an object that was freed.
    """

    def __init__(self, known: set[int]) -> None:
        self.known = known
        self.values: dict[tuple[int, int], tuple[Any, Any]] = {}
        self.insides: dict[tuple[int, int], tuple[Any, Any]] = {}
        self.left = 0

    def value(self, value: Any, depth: int = 0) -> Any:
        if type(value) in _PLAIN:  # without an entry: there may be many
            return _guarded(self._value, value, depth)
        key = (id(value), depth)
        if key not in self.values:
            self.values[key] = (value, _guarded(self._value, value, depth))
        return self.values[key][1]

    def _value(self, value: Any, depth: int) -> Any:
        if isinstance(value, torch.Tensor):
            return _tensor(value)
        if isinstance(value, _PLAIN):
            return (type(value).__name__, repr(value))
        if depth < _DEPTH and isinstance(value, _CONTAINERS):
            return (type(value).__name__, hash(tuple(self.value(one, depth + 1) for one in value)))
        if depth < _DEPTH and isinstance(value, Mapping):
            items = tuple((repr(key), self.value(one, depth + 1)) for key, one in value.items())
            return (type(value).__name__, hash(items))
        if isinstance(value, (np.ndarray, np.generic)):
            return ("array", zlib.crc32(value.tobytes()), value.shape)
        return _opaque(value)

    def inside(self, value: Any) -> Any:
        """What is inside the value of an attribute; ``None`` for what ``value`` compares."""
        self.left = _MOST
        return self._inside(value, 0)

    def _inside(self, value: Any, depth: int) -> Any:
        if depth > _DEPTH or type(value) in _PLAIN or id(value) in self.known:
            return None
        key = (id(value), depth)
        if key in self.insides:
            return self.insides[key][1]
        if self.left <= 0:
            return None
        self.left -= 1
        try:
            found = self._read(value, depth)
        except Exception:
            found = None
        if depth == 0 or self.left > 0:  # otherwise incomplete, and another attribute may have objects left
            self.insides[key] = (value, found)
        return found

    def _read(self, value: Any, depth: int) -> Any:
        parts = _parts(value)
        if not isinstance(parts, dict):
            return parts
        plain = isinstance(value, (*_CONTAINERS, Mapping))
        found = tuple(
            (name, None if plain else self.value(part, depth), self._inside(part, depth + 1))
            for name, part in parts.items()
        )
        # as a number: objects that hold each other have more paths between them than can be compared
        return None if plain and all(inside is None for *_, inside in found) else hash(found)


def _guarded(read: Callable[[Any, int], Any], value: Any, depth: int) -> Any:
    """Objects of others raise anything when they are asked for their type, their items or their name."""
    try:
        return read(value, depth)
    except Exception:
        return _opaque(value)


def _opaque(value: Any) -> Any:
    return ("function" if callable(value) else "object", id(value))


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
    return {name: held for name in sorted(slots) for held in _slot(value, name)} | _attributes(value) or None


def _slot(value: Any, name: str) -> list[Any]:
    try:
        return [object.__getattribute__(value, name)]  # without __getattr__, which answers for an empty slot
    except AttributeError:
        return []


def _attributes(value: Any) -> dict[str, Any]:
    try:
        return dict(vars(value))
    except Exception:
        return {}


def _cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return None


def _slots(kind: type) -> Iterable[str]:
    slots = vars(kind).get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return [name for name in names if name not in ("__dict__", "__weakref__") and not name.startswith("__")]
