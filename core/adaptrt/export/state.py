"""The state of a model as comparable values: parameters, buffers, attributes, hooks, and code."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

Fingerprint = Mapping[str, Any]

_TORCHS = frozenset(vars(nn.Module()))
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_DEPTH = 4  # of containers in attributes


def fingerprint(model: nn.Module) -> Fingerprint:
    """A value for each part by name ("buffer `norm.running_mean`", "attribute `calls`", "method `Block.forward`"), which
    changes when the part does.

    Objects that are not plain values are compared by identity; changes inside them are not detected.
    """
    found: dict[str, Any] = {}
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        if isinstance(module, torch.jit.ScriptModule):  # whose parts are made anew whenever they are asked for
            found |= {f"buffer `{prefix}{name}`": _value(tensor) for name, tensor in module.state_dict().items()}
            continue
        found[f"module `{path or type(model).__name__}`"] = (id(module), type(module), module.training)
        for kind, tensors in (("parameter", module._parameters), ("buffer", module._buffers)):
            found |= {f"{kind} `{prefix}{name}`": _value(tensor) for name, tensor in tensors.items()}
        found |= {
            f"attribute `{prefix}{name}`": _value(value) for name, value in vars(module).items() if name not in _TORCHS
        }
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
    """The names that a forward may modify: parameters, buffers and attributes."""
    return [name for name in names if name.startswith(("parameter", "buffer", "attribute"))]


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
    """The names of attributes, which a trace may leave changed: mostly caches."""
    return [name for name in names if name.startswith("attribute")]
