"""Whether the object that an entry point names has everything that its kind requires: members, their types, arguments."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Protocol

_INHERITED = (*dir(Protocol), *dir(object))


def missing_members(found: object, kind: type[Any]) -> list[str]:
    """The members of a protocol that an object does not have, in the order of the protocol."""
    return [name for name in members(kind) if not hasattr(found, name)]


def wrong_member(found: object, kind: type[Any]) -> str | None:
    """A sentence on the first member whose type or arguments differ from those of ``kind``; ``None`` if all fit.

    Without it, the mistake would show as an error in adaptrt's own code, wherever it uses the member first.
    """
    owner = type(found).__name__
    for name in members(kind) if type(found) is not kind else ():
        declared = inspect.getattr_static(kind, name, None)
        if isinstance(declared, property):
            wanted = _unmet_type(declared, getattr(found, name))
            if wanted:
                return f"{owner}.{name} must be {wanted}; got {_shown(getattr(found, name))}."
        elif inspect.isfunction(declared) and not _accepts(getattr(found, name), declared):
            return f"{owner}.{name} must accept the arguments ({', '.join(_arguments(declared))})."
    return None


def members(kind: type[Any]) -> list[str]:
    """Public members, of the class and of those that it inherits from."""
    found = [name for base in kind.__mro__ for name in (*vars(base), *vars(base).get("__annotations__", ()))]
    return [name for name in dict.fromkeys(found) if not name.startswith("_") and name not in _INHERITED]


def _unmet_type(declared: property, value: object) -> str | None:
    """The type that the value does not have, in words; any value passes for types that plugins do not confuse."""
    text = str(getattr(declared.fget, "__annotations__", {}).get("return", ""))
    if text == "str":
        return None if isinstance(value, str) else "a string"
    if text.startswith("tuple[str"):
        fits = isinstance(value, (tuple, list)) and all(isinstance(item, str) for item in value)
        return None if fits else "a tuple of strings"
    if text.startswith("Mapping["):
        return None if isinstance(value, Mapping) else "a dict"
    return None


def _accepts(given: Any, declared: Any) -> bool:
    """Whether a bound method takes all arguments of the function that declares it."""
    if not callable(given):
        return False
    try:
        own = inspect.signature(given)
    except (TypeError, ValueError):  # written in C
        return True
    parameters = list(inspect.signature(declared).parameters.values())[1:]
    try:
        own.bind(
            *(one.name for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)),
            **{one.name: None for one in parameters if one.kind is one.KEYWORD_ONLY},
        )
    except TypeError:
        return False
    return True


def _arguments(declared: Any) -> list[str]:
    return list(inspect.signature(declared).parameters)[1:]


def _shown(value: object) -> str:
    return f"{type(value).__name__} {value!r:.60}"
