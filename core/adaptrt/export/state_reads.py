"""Whether the outputs of a model depend on state that its forward modifies: a last value, a running maximum.

Two runs with the same inputs may agree all the same, and so may a trace with every sample. Other values in that state show it,
unless the forward replaces them before it reads them, as it does where it only keeps its features for someone else.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
    with other values, and change the outputs if they do. The model has run on the ``samples``; the first has that shape.

    State is left as it was, as far as tensors, numbers and what holds them go.
    """
    owners = {name: owner for name in written if (owner := _owner(model, name)) is not None}
    first, *others = samples
    with _restored(owners.values()):
        wanted = run(first)
        before = fingerprint(model)
        for inputs in others:
            if [array.shape for array in inputs.values()] == [array.shape for array in first.values()]:
                run(inputs)
                break
        # a running maximum has seen all samples already; not every model takes values that are larger
        with contextlib.suppress(Exception):
            run({name: _beyond(array, [one[name] for one in samples]) for name, array in first.items()})
        differing = {*changed(before, fingerprint(model))}
    return [
        name
        for name, owner in owners.items()
        if name in differing and _is_read(owner, owners.values(), lambda: run(first), wanted)
    ]


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


def _is_read(owner: _Owner, every: Collection[_Owner], run: Callable[[], Arrays], wanted: Arrays) -> bool:
    for number in _PROBES:
        with _restored(every):
            try:
                owner.value = _probe(owner.value, number)
            except Exception:  # an object that cannot be copied, or a tensor without other values
                return False
            try:
                found = run()
            except Exception:  # it does not work with that value
                return True
            if not _alike(found, wanted):
                return True
    return False


@contextmanager
def _restored(owners: Collection[_Owner]) -> Iterator[None]:
    """The objects are put back, and what is inside them, which a forward may modify in place."""
    undo = [(owner, owner.value, _snapshot(owner.value)) for owner in owners]
    try:
        yield
    finally:
        for owner, value, restore in undo:
            owner.value = value
            restore()


def _snapshot(value: Any, depth: int = 0) -> Callable[[], None]:
    """A function that gives the object what it holds now."""
    if isinstance(value, torch.Tensor):
        values = value.detach().clone()

        def copied() -> None:
            with torch.inference_mode():
                value.detach().copy_(values)

        return copied
    held = _held(value)
    if held is None or depth >= _DEPTH:
        return lambda: None
    items = copy.copy(held)
    inside = [_snapshot(one, depth + 1) for one in (items.values() if isinstance(items, dict) else items)]

    def restored() -> None:
        held.clear()
        (held.update if isinstance(held, dict) else held.extend)(items)
        for restore in inside:
            restore()

    return restored


def _held(value: Any) -> Any:
    """The list or dict that holds the parts of an object; ``None`` if it has none that can be changed."""
    if type(value) in (list, dict):
        return value
    if isinstance(value, (nn.Module, type)) or callable(value):
        return None
    attributes = getattr(value, "__dict__", None)
    return attributes if isinstance(attributes, dict) else None


def _probe(value: Any, number: float, depth: int = 0) -> Any:
    """The same with other numbers, in what it holds too; other objects stay."""
    if isinstance(value, nn.Parameter):
        return nn.Parameter(_probe(value.data, number), requires_grad=value.requires_grad)
    if isinstance(value, torch.Tensor):
        return (
            torch.logical_not(value) if value.dtype == torch.bool else torch.full_like(value, _fitting(value, number))
        )
    if type(value) is bool:
        return not value
    if type(value) in (int, float):
        return type(value)(number)
    if depth >= _DEPTH:
        return value
    if type(value) in (list, tuple):
        return type(value)(_probe(one, number, depth + 1) for one in value)
    held = _held(value)
    if held is None:
        return value
    parts = {key: _probe(one, number, depth + 1) for key, one in held.items()}
    if held is value:
        return parts
    other = copy.copy(value)
    vars(other).update(parts)
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
