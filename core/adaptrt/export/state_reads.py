"""Whether the outputs of a model depend on state that its forward modifies: a last value, a running maximum.

Two runs with the same inputs may agree all the same, and so may a trace with every sample. Other values in that state show it,
unless the forward replaces them before it reads them, as it does where it only keeps its features for someone else.
"""

from __future__ import annotations

import contextlib
import copy
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from adaptrt.export.state import changed, fingerprint

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.specs.tensors import Arrays

_PROBES = (1e4, -1e4)
_DEPTH = 3  # of containers and objects


def state_that_outputs_read(
    model: nn.Module, written: Sequence[str], run: Callable[[Arrays], Arrays], samples: Sequence[Arrays]
) -> list[str]:
    """Of the parts that forward has ``written``, as ``fingerprint`` names them: those that differ after inputs of the same shapes
    with other values, and change the outputs if they do. The model has run on the ``samples``; the smallest ones are used.

    State is left as it was, as far as tensors, numbers and what holds them go.
    """
    owners = {name: owner for name in written if (owner := _owner(model, name)) is not None}
    first, others = _smallest(samples)
    with _restored(owners.values()):
        wanted = run(first)
        before = fingerprint(model)
        for inputs in others[:1]:
            run(inputs)
        # a running maximum has seen all samples already; not every model takes values that are larger
        with contextlib.suppress(Exception):
            run({name: _beyond(array, [one[name] for one in samples]) for name, array in first.items()})
        differing = {*changed(before, fingerprint(model))}
        seen = {name: _copied(owner.value) for name, owner in owners.items() if name in differing}
    return [
        name
        for name, other in seen.items()
        if _is_read(owners[name], other, owners.values(), lambda: run(first), wanted)
    ]


def _smallest(samples: Sequence[Arrays]) -> tuple[Arrays, list[Arrays]]:
    """A sample, of a shape that others have too if there is one, and those others."""

    def of_shape(wanted: Arrays) -> list[Arrays]:
        shapes = [array.shape for array in wanted.values()]
        return [one for one in samples if [array.shape for array in one.values()] == shapes]

    first = min(samples, key=lambda one: (len(of_shape(one)) == 1, sum(array.size for array in one.values())))
    return first, [one for one in of_shape(first) if one is not first]


def _beyond(array: NDArray[Any], known: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Values with a larger range than all that are known."""
    if array.dtype.kind != "f":
        return array
    largest = max(float(np.abs(one).max(initial=0.0)) for one in known)
    return np.asarray(array * 4 + 2 * largest, array.dtype)


class _Owner:
    """A module and the name of a part of it."""

    def __init__(self, module: nn.Module, name: str) -> None:
        self.name = name
        self.held: dict[str, Any] = next(
            (parts for parts in (module._parameters, module._buffers) if name in parts), vars(module)
        )

    @property
    def value(self) -> Any:
        return self.held[self.name]

    @value.setter
    def value(self, value: Any) -> None:
        self.held[self.name] = value


def _owner(model: nn.Module, part: str) -> _Owner | None:
    """That of a part as ``fingerprint`` names it; ``None`` if it is not a part of a module any more."""
    path, _, name = part.partition("`")[2].rstrip("`").rpartition(".")
    try:
        owner = _Owner(model.get_submodule(path), name)
    except AttributeError:
        return None
    return owner if name in owner.held else None


def _is_read(owner: _Owner, seen: Any, every: Collection[_Owner], run: Callable[[], Arrays], wanted: Arrays) -> bool:
    """``seen`` is the value after other inputs. Only what differs in it gets other numbers, and if the model does not work with
    them, which may be an index into a buffer, ``seen`` itself counts."""
    for number in (*_PROBES, None):
        with _restored(every):
            try:
                owner.value = seen if number is None else _probe(owner.value, seen, number)
            except Exception:  # an object that cannot be copied, or a tensor without other values
                return False
            try:
                found = run()
            except Exception:
                if number is None:
                    return True
                continue
            if not _alike(found, wanted):
                return True
    return False


@contextmanager
def _restored(owners: Collection[_Owner]) -> Iterator[None]:
    """The objects are put back, and what is inside them, which a forward may modify in place."""
    with ExitStack() as undo:
        for owner in owners:
            value = owner.value
            undo.callback(_snapshot(value))
            undo.callback(setattr, owner, "value", value)
        yield


def _snapshot(value: Any, depth: int = 0) -> Callable[[], None]:
    """A function that gives the object what it holds now."""
    if isinstance(value, torch.Tensor):
        return _snapshot_of_tensor(value)
    if isinstance(value, np.ndarray):
        array = value.copy()
        return lambda: np.copyto(value, array) if value.flags.writeable else None
    parts = _parts(value)
    if parts is None or depth >= _DEPTH:
        return lambda: None
    inside = [_snapshot(one, depth + 1) for one in parts.values()]

    def restored() -> None:
        if not isinstance(value, tuple):
            _put(value, parts)
        for restore in inside:
            restore()

    return restored


def _snapshot_of_tensor(value: torch.Tensor) -> Callable[[], None]:
    """Of its memory: the elements of an expanded tensor, which share it, cannot be written."""
    try:
        memory = torch.empty(0, dtype=torch.uint8, device=value.device).set_(value.untyped_storage())
        kept = memory.clone()
    except (RuntimeError, NotImplementedError):  # it has none
        return lambda: None

    def restored() -> None:
        if not torch.equal(memory, kept):  # it may be a file that is read only
            memory.copy_(kept)

    return restored


def _parts(value: Any) -> dict[Any, Any] | None:
    """What a container or an object holds, by key or name; ``None`` for what has no parts that count."""
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, (list, tuple, set, deque)):
        return dict(enumerate(value))
    if isinstance(value, (nn.Module, type)) or callable(value):
        return None
    slots = {name: getattr(value, name) for name in _slots(value) if hasattr(value, name)}
    attributes = getattr(value, "__dict__", None)
    return {**slots, **attributes} if isinstance(attributes, dict) else slots or None


def _put(value: Any, parts: Mapping[Any, Any]) -> None:
    """The reverse of ``_parts``, in place."""
    if isinstance(value, dict):
        value.clear()
        value.update(parts)
    elif isinstance(value, (list, deque)):
        value.clear()
        value.extend(parts.values())
    elif isinstance(value, set):
        value.clear()
        value.update(parts.values())
    else:
        slots = _slots(value)
        for name in slots:
            if name in parts:
                object.__setattr__(value, name, parts[name])
            elif hasattr(value, name):
                object.__delattr__(value, name)
        if hasattr(value, "__dict__"):
            attributes = vars(value)
            attributes.clear()
            attributes.update({name: part for name, part in parts.items() if name not in slots})


def _slots(value: Any) -> list[str]:
    """The names of attributes that an object holds without a ``__dict__``."""
    classes = [vars(one) for one in type(value).__mro__ if "__slots__" in vars(one)]
    return [name for held in classes for name, kind in held.items() if isinstance(kind, MemberDescriptorType)]


def _copied(value: Any, depth: int = 0) -> Any:
    """A copy that ``forward`` does not modify; objects that cannot be copied are shared."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    parts = _parts(value)
    if parts is None or depth >= _DEPTH:
        return value
    try:
        return _with_parts(value, {key: _copied(one, depth + 1) for key, one in parts.items()})
    except Exception:
        return value


def _with_parts(value: Any, parts: Mapping[Any, Any]) -> Any:
    if isinstance(value, tuple):
        if hasattr(value, "_make"):
            return value._make(parts.values())
        return tuple(parts.values()) if type(value) is tuple else value
    other = copy.copy(value)
    _put(other, parts)
    return other


def _probe(value: Any, seen: Any, number: float, depth: int = 0) -> Any:
    """The same with other numbers where they differ from those ``seen``, in what it holds too; other objects stay."""
    if isinstance(value, nn.Parameter):
        return nn.Parameter(_probe(value.data, seen, number), requires_grad=value.requires_grad)
    if isinstance(value, torch.Tensor):
        return _probe_of_tensor(value, seen, number)
    if isinstance(value, np.ndarray):
        known = torch.from_numpy(seen) if isinstance(seen, np.ndarray) else None
        return _probe_of_tensor(torch.from_numpy(value), known, number).numpy()
    if isinstance(value, (bool, int, float, np.number, np.bool_)):
        if type(value) is type(seen) and value == seen:
            return value
        return type(value)(not value if isinstance(value, (bool, np.bool_)) else number)  # type: ignore[arg-type]
    parts = _parts(value)
    if parts is None or depth >= _DEPTH:
        return value
    others = _parts(seen) if type(seen) is type(value) else None
    others = others or {}
    return _with_parts(value, {key: _probe(one, others.get(key), number, depth + 1) for key, one in parts.items()})


def _probe_of_tensor(value: torch.Tensor, seen: Any, number: float) -> torch.Tensor:
    other = torch.logical_not(value) if value.dtype == torch.bool else torch.full_like(value, _fitting(value, number))
    if isinstance(seen, torch.Tensor) and (seen.shape, seen.dtype) == (value.shape, value.dtype):
        return torch.where(value != seen, other, value)
    return other


def _fitting(tensor: torch.Tensor, number: float) -> float:
    if tensor.is_floating_point() or tensor.is_complex():
        return number
    limits = torch.iinfo(tensor.dtype)
    return int(min(max(number, limits.min), limits.max))


def _alike(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    return first.keys() == second.keys() and all(
        array.shape == second[name].shape and np.allclose(array, second[name], rtol=1e-3, atol=1e-5, equal_nan=True)
        for name, array in first.items()
    )
