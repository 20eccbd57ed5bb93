"""Names of the classes, out of a file of the user's."""

from __future__ import annotations

import json
from pathlib import Path

from adaptrt import UsageError


def read_labels(path: str) -> tuple[str, ...]:
    """One label a line, or a JSON list, or a JSON object from class number to label."""
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The labels {path} cannot be read: {error}.", hint="One label a line, in UTF-8.") from error
    if file.suffix != ".json":
        return tuple(line.strip() for line in text.splitlines() if line.strip())
    try:
        content = json.loads(text)
        if isinstance(content, dict):
            content = [content[str(index)] for index in range(len(content))]
    except (json.JSONDecodeError, KeyError) as error:
        raise UsageError(f"The labels {path} are no JSON list of names: {error}.") from error
    if not isinstance(content, list):
        raise UsageError(f"The labels {path} are no JSON list of names.")
    return tuple(map(str, content))
