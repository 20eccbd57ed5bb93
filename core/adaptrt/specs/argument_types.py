"""The arguments of the Python API have the types that its signatures say, before anything is done with them."""

from __future__ import annotations

import builtins
import inspect
import os
import reprlib
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sized
from dataclasses import fields
from functools import lru_cache
from importlib import import_module
from numbers import Integral, Real
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, Union, get_args, get_origin

from adaptrt.errors import UsageError

_PLACES = {
    "BuildOptions": "adaptrt.specs",
    "NmsRequest": "adaptrt.request",
    "Exporter": "adaptrt.request",
    "Require": "adaptrt.request",
    "Verify": "adaptrt.request",
    "CalibrationRequest": "adaptrt.specs.calibration",
    "LabeledData": "adaptrt.specs.calibration",
}
"""Classes that signatures name but their modules import only for type checkers; other such names are not checked."""
_PACKAGES = {"evaluate": "adaptrt.evaluation"}
"""Functions that are not in ``adaptrt``."""
_CHECKED_LATER = ("device",)  # with the forms that it can have


def require_types(function: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Raise a ``UsageError`` for the first argument that is not of its type; ``given`` are the arguments by name."""
    hints = _hints(function)
    several = {one.name for one in inspect.signature(function).parameters.values() if one.kind is one.VAR_POSITIONAL}
    for name, value in given.items():
        values = value if name in several else (value,)
        for one in values if name in hints and name not in _CHECKED_LATER else ():
            if not _fits(one, hints[name]):
                raise UsageError(
                    f"{name} must be {_spelled(hints[name])}; got {_shown(one)}.",
                    hint=_next_step(one, hints[name], function),
                )


@lru_cache(maxsize=32)
def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    given = {name: hint for name, hint in function.__annotations__.items() if name != "return"}
    names = _Names(function.__globals__)
    return typing.get_type_hints(SimpleNamespace(__annotations__=given), globalns={}, localns=names)


class _Names(dict[str, Any]):
    def __init__(self, known: Mapping[str, Any]) -> None:
        super().__init__()
        self._known = known

    def __missing__(self, name: str) -> Any:
        if name in self._known:
            return self._known[name]
        if name in _PLACES:
            return getattr(import_module(_PLACES[name]), name)
        return getattr(builtins, name, Any)


def require_argument_fields(given: Any) -> None:
    """The same for the fields of a dataclass that users pass; ``adaptrt.field_types`` has those of plugins."""
    kind: Any = type(given)
    hints = _field_hints(kind)
    for name, hint in hints.items():
        value = getattr(given, name)
        if not _fits(value, hint):
            raise UsageError(
                f"{name} must be {_spelled(hint)}; got {_shown(value)}.", hint=f"See help(adaptrt.{kind.__name__})."
            )


@lru_cache(maxsize=32)
def _field_hints(kind: type[Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {one.name: hints[one.name] for one in fields(kind)}


def _fits(value: Any, hint: Any) -> bool:
    value = value.tolist() if hasattr(value, "tolist") else value  # of numpy
    origin, parts = get_origin(hint) or hint, get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if hint is bool:
        return isinstance(value, Integral) and value in (0, 1)
    if hint is int:
        return isinstance(value, Integral)
    if hint is float:
        return isinstance(value, Real)
    if origin is Literal:  # which of them is checked where they are known
        return isinstance(value, str)
    if origin is tuple and Ellipsis not in parts:
        return isinstance(value, (tuple, list)) and len(value) == len(parts) and all(map(_fits, value, parts))
    if isinstance(origin, type) and issubclass(origin, Iterable) and not issubclass(origin, (str, Mapping)):
        if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
            return False
        return not isinstance(value, Sized) or all(  # else it may be readable only once
            _fits(one, parts[0]) for one in value
        )
    return isinstance(value, origin)


def _spelled(hint: Any) -> str:
    origin, parts = get_origin(hint) or hint, get_args(hint)
    if origin in (Union, types.UnionType):
        words = list(dict.fromkeys(_spelled(part) for part in _joined(parts)))
        return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
    if origin is Literal:
        *others, last = map(repr, parts)
        return f"{', '.join(others)} or {last}" if others else last
    if origin is tuple and Ellipsis not in parts:
        return f"a tuple of {len(parts)} {_PLURALS.get(parts[0], 'values')}"
    if isinstance(origin, type) and issubclass(origin, Iterable) and not issubclass(origin, (str, Mapping)):
        return f"a list of {_PLURALS.get(parts[0], 'paths')}"
    return _WORDS.get(origin) or f"adaptrt.{origin.__name__}"


def _joined(parts: Iterable[Any]) -> list[Any]:
    """Text is a path too, and need not be listed beside one."""
    found = list(parts)
    paths = any(get_origin(part) is os.PathLike for part in found)
    return [part for part in found if not (paths and part is str)]


_WORDS: dict[Any, str] = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "True or False",
    types.NoneType: "None",
    os.PathLike: "a path",
    Path: "a path",
    Callable: "a function",
    Mapping: "a dict",
    typing.get_origin(Mapping[str, Any]): "a dict",
}
_PLURALS: dict[Any, str] = {str: "strings", int: "integers", float: "numbers"}


def _shown(value: Any) -> str:
    plain = value is None or isinstance(value, (str, bytes, Real, list, tuple, dict))
    return reprlib.repr(value) if plain else type(value).__name__


def _next_step(value: Any, hint: Any, function: Callable[..., Any]) -> str:
    paths = any(get_origin(part) is os.PathLike for part in (hint, *get_args(hint)))
    if paths and hasattr(value, "shape"):
        return "Write an image in memory to a file first: adaptrt.write_image('image.png', array)"
    return f"See help({_PACKAGES.get(function.__name__, 'adaptrt')}.{function.__qualname__.removesuffix('.__init__')})."
