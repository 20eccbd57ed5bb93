"""Writes protobuf's text format, the format of ``config.pbtxt``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TypeAlias

Value: TypeAlias = "str | bool | int | float | Name | Mapping[str, Value] | Sequence[Value]"


class Name(str):
    """The name of an enumeration value, written without quotes: ``TYPE_FP32``."""

    __slots__ = ()


def entries(mapping: Mapping[str, Value]) -> list[Value]:
    """A map field: a list of messages with ``key`` and ``value``."""
    return [{"key": key, "value": value} for key, value in mapping.items()]


def text_of(message: Mapping[str, Value], indent: str = "") -> str:
    """A message. A sequence of scalars is a list in brackets, a sequence of messages a repeated field."""
    return "".join(_field(key, value, indent) for key, value in message.items())


def _field(key: str, value: Value, indent: str) -> str:
    if isinstance(value, Mapping):
        return f"{indent}{key} {{\n{text_of(value, indent + '  ')}{indent}}}\n"
    if isinstance(value, Sequence) and not isinstance(value, str):
        if any(isinstance(one, Mapping) for one in value):
            return "".join(_field(key, one, indent) for one in value)
        return f"{indent}{key}: [{', '.join(map(_scalar, value))}]\n"
    return f"{indent}{key}: {_scalar(value)}\n"


def _scalar(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Name):
        return str(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
