"""Data as JSON text that every parser reads."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

_SURROGATE = re.compile("[\ud800-\udfff]")
_FIRST_BYTE = 0xDC00  # os.fsdecode adds it to a byte that is not UTF-8


def json_text(value: Any, *, indent: int | None = None) -> str:
    """JSON has no infinity and no NaN, which ``json.dumps`` would write: they become ``null``. Names of files that are not UTF-8
    are written as ``encodable`` returns them."""
    try:
        text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), indent=indent, ensure_ascii=False)
    # they can occur only in strings, where \ is escaped
    return _SURROGATE.sub(lambda found: "\\" + _escaped(found), text)


def formatted_json(value: Any, *, indent: int = 2) -> bytes:
    """Of dataclasses; a number that is not finite becomes ``null``."""
    import msgspec

    return msgspec.json.format(msgspec.json.encode(value), indent=indent)


def encodable(text: str) -> str:
    """Text that UTF-8 can encode: a byte of a file name that is not UTF-8 becomes four characters, such as ``\\xff``."""
    return _SURROGATE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    number = ord(found[0])
    is_byte = 0x80 <= number - _FIRST_BYTE <= 0xFF
    return f"\\x{number - _FIRST_BYTE:02x}" if is_byte else f"\\u{number:04x}"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, (list, tuple)) else value
