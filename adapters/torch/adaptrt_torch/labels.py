"""Names of the classes, out of a file of the user's."""

from __future__ import annotations

from pathlib import Path

from adaptrt import UsageError


def read_labels(path: str) -> tuple[str, ...]:
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The labels {path} cannot be read: {error}.", hint="One label a line, in UTF-8.") from error
    return tuple(line.strip() for line in text.splitlines() if line.strip())
