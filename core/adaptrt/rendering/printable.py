"""Text for a terminal: text from a file must not control the terminal that shows it.

Escape sequences in a label, an operator's name or a file's name can recolor and overwrite lines, set the window's title
or the clipboard. Everything that the commands print goes through here, and so does rich's output.
"""

from __future__ import annotations

import re

# C0 without tab and line feed, DEL, C1 (8-bit CSI and OSC), bidirectional marks; lone surrogates cannot be encoded
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_STYLED = re.compile(r"(\x1b\[[0-9;]*m)")


def printable(text: str) -> str:
    """The text with control characters escaped: ``\\x1b`` in place of the escape character."""
    return UNPRINTABLE.sub(lambda found: _escaped(ord(found[0])), text)


def printable_styled(text: str) -> str:
    """The same for text that ``click.style`` has colored; only for text that contains nothing from a model file."""
    return "".join(part if index % 2 else printable(part) for index, part in enumerate(_STYLED.split(text)))


def printable_json(text: str) -> str:
    """Equivalent JSON: such characters can occur only in strings, where JSON can escape them."""
    return UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _escaped(number: int) -> str:
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
