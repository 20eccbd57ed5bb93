"""Where Python takes values out of a tensor: as a number, an array, a condition, or through its memory."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from operator import length_hint
from types import FrameType
from typing import Any

import torch

CONDITION = "a condition"
LENGTH = "len()"
PARTS = "the number of parts"
CONVERSIONS = {
    "__bool__": CONDITION,
    "__int__": "int()",
    "__float__": "float()",
    "__complex__": "complex()",
    "__index__": "an index or a range",
    "__len__": LENGTH,
    "item": ".item()",
    "tolist": ".tolist()",
    "numpy": "a NumPy array",
    "__array__": "a NumPy array",
    "__dlpack__": "an array of the same memory (DLPack)",
    "data_ptr": "data_ptr()",
    "untyped_storage": "the storage",
    "storage": "the storage",
    "equal": "torch.equal()",
    "allclose": "torch.allclose()",
    "is_nonzero": "torch.is_nonzero()",
}
# also functions of torch, whose first argument is the tensor
_FUNCTIONS = ("equal", "allclose", "is_nonzero")
# what they return says nothing about the values
INDIRECT = frozenset(CONVERSIONS[name] for name in ("__dlpack__", "data_ptr", "untyped_storage"))
# divide a tensor into as many parts as an axis has entries, or by its size: the position of the axis among the arguments
_DIVISIONS = {"unbind": 1, "chunk": 2, "split": 2, "tensor_split": 2}  # iteration calls unbind
_DIVIDING_FUNCTIONS = ("unbind", "chunk", "tensor_split")  # torch.split calls the method
_DATA = ".data"  # a property: the trace loses what is computed from it
_BUILDERS = ("tensor", "as_tensor")  # make a constant of the tensors in a list
_BUILT = "torch.tensor()"

Note = Callable[[torch.Tensor, str, FrameType, Any, int | None], None]


@contextmanager
def watching_conversions(note: Note) -> Iterator[None]:
    """Calls ``note(tensor, how, frame, result, axis)`` wherever Python takes the values out of a tensor, or the size of an axis
    by dividing it into parts: ``result`` is then their number. ``axis`` is ``None`` for values."""
    inside = False  # __array__ calls numpy, item may call __float__: one conversion
    own = threading.get_ident()  # torch also works in other threads meanwhile

    def watched(original: Any, how: str) -> Any:
        def convert(*args: Any, **kwargs: Any) -> Any:
            nonlocal inside
            if inside or threading.get_ident() != own:
                return original(*args, **kwargs)
            inside = True
            try:
                result = original(*args, **kwargs)
                for tensor in _tensors_in([*args, *kwargs.values()]):
                    note(tensor, how, sys._getframe(1), result, 0 if how == LENGTH else None)
                return result
            finally:
                inside = False

        return convert

    def divided(original: Any, position: int) -> Any:
        def divide(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            tensor = next(_tensors_in([*args[:1], *kwargs.values()]), None)
            if not inside and threading.get_ident() == own and tensor is not None:
                given = args[position] if len(args) > position else kwargs.get("dim", kwargs.get("axis", 0))
                axis = tensor.names.index(given) if isinstance(given, str) else int(given)
                note(tensor, PARTS, sys._getframe(1), length_hint(result), axis)
            return result

        return divide

    def built(original: Any) -> Any:
        def build(data: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(data, *args, **kwargs)
            for tensor in _tensors_in(data) if threading.get_ident() == own else ():
                note(tensor, _BUILT, sys._getframe(1), result, None)
            return result

        return build

    of_tensors: dict[str, Any] = {name: watched(getattr(torch.Tensor, name), how) for name, how in CONVERSIONS.items()}
    values: Any = torch.Tensor.data
    of_tensors["data"] = property(watched(values.__get__, _DATA), values.__set__)
    of_tensors |= {name: divided(getattr(torch.Tensor, name), place) for name, place in _DIVISIONS.items()}
    of_torch = {name: watched(getattr(torch, name), CONVERSIONS[name]) for name in _FUNCTIONS}
    of_torch |= {name: built(getattr(torch, name)) for name in _BUILDERS}
    of_torch |= {name: divided(getattr(torch, name), _DIVISIONS[name]) for name in _DIVIDING_FUNCTIONS}
    originals = {name: getattr(torch, name) for name in of_torch}
    with ExitStack() as undo:
        for owner, changes in ((torch.Tensor, of_tensors), (torch, of_torch)):
            for name, value in changes.items():
                undo.callback(_way_back(owner, name))
                setattr(owner, name, value)
        undo.enter_context(_known_to_script({id(value): originals[name] for name, value in of_torch.items()}))
        yield


@contextmanager
def _known_to_script(functions: Mapping[int, Any]) -> Iterator[None]:
    """``torch.jit.script_if_tracing`` compiles while the model is traced, and finds functions of torch by their id."""
    table: dict[int, str] = torch.jit._builtins._get_builtin_table()  # type: ignore[no-untyped-call]
    known = {number: table[id(function)] for number, function in functions.items() if id(function) in table}
    table.update(known)
    try:
        yield
    finally:
        for number in known:
            del table[number]


def _way_back(owner: Any, name: str) -> Callable[[], None]:
    """Restore an attribute: most of them belong to a base class and are uncovered again."""
    if name in vars(owner):
        return partial(setattr, owner, name, vars(owner)[name])
    return partial(delattr, owner, name)


def _tensors_in(data: Any) -> Iterator[torch.Tensor]:
    if isinstance(data, (list, tuple)):
        for item in data:
            if isinstance(item, torch.Tensor):
                yield item
            else:
                yield from _tensors_in(item)
