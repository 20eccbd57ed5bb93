"""Fields of the dataclasses that plugins construct: each value must have its declared type."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Mapping
from dataclasses import Field, fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin


def require_field_types(instance: Any) -> None:
    """Raise a ``TypeError`` for the first field whose value is of another type than declared.

    Lists pass as tuples, and integers as floats. Any value passes as a type that is imported for type checking only.
    """
    for name, expected in _declared(instance.__class__):
        value = getattr(instance, name)
        if not _matches(value, expected):
            raise TypeError(
                f"{type(instance).__name__}.{name} must be {_described(expected)}; got "
                f"{_shown(_first_wrong(value, expected))}.{_forgotten_comma(value, expected)}"
            )


@cache
def _declared(cls: type[Any]) -> tuple[tuple[str, Any], ...]:
    return tuple((field.name, _type_of(field, cls)) for field in fields(cls))


def _type_of(field: Field[Any], cls: type[Any]) -> Any:
    if not isinstance(field.type, str):
        return field.type
    owner = next(
        base for base in reversed(cls.__mro__) if vars(base).get("__dataclass_fields__", {}).get(field.name) is field
    )
    try:
        known = vars(sys.modules[owner.__module__])
        return eval(field.type, known, _Names(known))
    except (AttributeError, KeyError, NameError, TypeError):
        return Any


class _Unknown(type):
    """The type of what stands for a type, or its module, that is imported for type checking only."""

    def __getattr__(cls, name: str) -> _Unknown:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Unknown(name, (), {})

    def __getitem__(cls, _: object) -> _Unknown:
        return cls


class _Names(dict[str, Any]):
    """What a module does not have when it runs."""

    def __init__(self, known: Mapping[str, Any]) -> None:
        super().__init__()
        self._known = known

    def __missing__(self, name: str) -> _Unknown:
        if name in self._known or hasattr(builtins, name):
            raise KeyError(name)
        return _Unknown(name, (), {})


def _matches(value: Any, expected: Any) -> bool:
    if type(expected) is type:
        return isinstance(value, (float, int) if expected is float else expected)
    origin, arguments = get_origin(expected), get_args(expected)
    if origin is Literal:
        return isinstance(value, (str, int)) and value in arguments
    if origin in (Union, UnionType):
        return any(_matches(value, one) for one in arguments)
    if origin is tuple and arguments[-1] is ...:
        return isinstance(value, (tuple, list)) and all(_matches(item, arguments[0]) for item in value)
    if origin is dict:
        return isinstance(value, Mapping) and all(map(_matches, _flat(value), arguments * len(value)))
    return callable(value) if origin is Callable else True


def _flat(mapping: Mapping[Any, Any]) -> list[Any]:
    return [item for pair in mapping.items() for item in pair]


def _first_wrong(value: Any, expected: Any) -> Any:
    """The item that does not match, if ``value`` is the right container; else ``value``."""
    arguments = get_args(expected)
    if get_origin(expected) is tuple and isinstance(value, (tuple, list)):
        return next(_first_wrong(item, arguments[0]) for item in value if not _matches(item, arguments[0]))
    if get_origin(expected) is dict and isinstance(value, Mapping):
        pairs = zip(_flat(value), arguments * len(value), strict=True)
        return next(item for item, wanted in pairs if not _matches(item, wanted))
    return value


def _forgotten_comma(value: Any, expected: Any) -> str:
    if get_origin(expected) is tuple and _matches(value, get_args(expected)[0]):
        return " A tuple with one item ends with a comma: (item,)."
    return ""


def _described(expected: Any) -> str:
    origin, arguments = get_origin(expected), get_args(expected)
    if origin is Literal:
        return _either([repr(one) for one in arguments])
    if origin in (Union, UnionType):
        return _either([_described(one) for one in arguments])
    if origin is tuple:
        return f"a tuple of {_described(arguments[0]).replace('a tuple', 'tuples', 1)}"
    if origin is dict:
        return f"a dict of {' to '.join(_described(one) for one in arguments)}"
    if origin is Callable:
        return "a function"
    return "None" if expected is NoneType else str(getattr(expected, "__name__", expected))


def _either(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]


def _shown(value: Any) -> str:
    if value is None or isinstance(value, type):
        return str(value)
    return f"{type(value).__name__} {value!r:.60}" if isinstance(value, (str, int, float)) else type(value).__name__
