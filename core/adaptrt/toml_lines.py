"""Where a key is in a TOML file, for the messages of all files that users write. TOML parsers keep no positions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path


def place_of(path: str | Path, *keys: str) -> str:
    """``conversion.toml:3``, the line of the key to which ``keys`` lead; only the path if the file has no such line, or is a pipe.

    The file is read again: this is for messages. Reports in JSON may be read as conversions, and have no lines.
    """
    try:
        text = Path(path).read_text(encoding="utf-8") if Path(path).is_file() else ""
    except (OSError, UnicodeError):
        return str(path)
    line = 0 if text.lstrip().startswith("{") else line_of(text, keys)
    return f"{path}:{line}" if line else str(path)


def line_of(text: str, keys: Sequence[str]) -> int:
    """The line that most likely contains a key: the deepest part of its dotted path found in the text, in order; 0 if none is.

    A key written in an unusual way (escapes, several lines) gives the line of its table.
    """
    found = 0
    lines = text.splitlines()
    for part in keys:
        pattern = re.compile(
            rf"^\s*\[*\s*(?:[\w\"'-]+\s*\.\s*)*[\"']?{re.escape(part)}[\"']?\s*(?:[=.\]]|$)|[{{,]\s*{re.escape(part)}\s*="
        )
        for number in range(max(found, 1), len(lines) + 1):
            if pattern.search(lines[number - 1]):
                found = number
                break
    return found
