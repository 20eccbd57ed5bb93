"""A call of the Python API as source text, which reports store as their command."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

# callbacks and what they show; they do not affect the result
_OMITTED = ("observer",)


def python_command(name: str, given: Mapping[str, Any], function: Callable[..., Any]) -> str:
    """``adaptrt.NAME(...)`` with every argument that differs from its default; ``given`` are the arguments by name."""
    words = []
    for parameter in inspect.signature(function).parameters.values():
        value = given[parameter.name]
        if parameter.name in _OMITTED or (parameter.default is not parameter.empty and value == parameter.default):
            continue
        text = _literal(value)
        words.append(text if parameter.kind is parameter.POSITIONAL_OR_KEYWORD else f"{parameter.name}={text}")
    return f"adaptrt.{name}({', '.join(words)})"


def _default(field: Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _literal(value: Any) -> str:
    """The value as Python source; paths as text, dataclasses of adaptrt with the fields that differ from their defaults."""
    value = value.tolist() if hasattr(value, "tolist") else value  # of numpy
    if isinstance(value, os.PathLike):
        return repr(os.fspath(value))
    if is_dataclass(value) and not isinstance(value, type):
        differ = [one.name for one in fields(value) if getattr(value, one.name) != _default(one)]
        arguments = ", ".join(f"{key}={_literal(getattr(value, key))}" for key in differ)
        return f"adaptrt.{type(value).__name__}({arguments})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {_literal(part)}" for key, part in value.items()) + "}"
    if isinstance(value, (tuple, list)):
        parts = ", ".join(map(_literal, value))
        if isinstance(value, list):
            return f"[{parts}]"
        return f"({parts},)" if len(value) == 1 else f"({parts})"
    if isinstance(value, (set, frozenset)):
        return "{" + ", ".join(sorted(map(_literal, value))) + "}" if value else "set()"
    return repr(value)
