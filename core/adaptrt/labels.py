"""Class names from a user's file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from adaptrt.errors import UsageError, nearest_file


@dataclass(frozen=True)
class LabelOptions:
    """Base class for adapter options with ``--set labels=FILE``, which is read when the options are filled."""

    labels: str | None = None

    def __post_init__(self) -> None:
        _ = self.class_names  # a file that cannot be read is refused before anything is loaded

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The names in the file ``labels``; empty without one."""
        return read_labels(self.labels) if self.labels is not None else ()


def read_labels(path: str | Path) -> tuple[str, ...]:
    """One label per line; in a ``.json`` file a list, or an object from class number to label."""
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        hint = nearest_file(file) if isinstance(error, FileNotFoundError) else None
        raise UsageError(
            f"The label file {path} cannot be read: {reason}.",
            hint=hint or "Use a UTF-8 text file with one label per line.",
        ) from error
    if file.suffix.lower() != ".json":
        return tuple(line.strip() for line in text.splitlines() if line.strip())
    try:
        content = json.loads(text)
        if isinstance(content, dict):
            content = [content[str(index)] for index in range(len(content))]
    except (json.JSONDecodeError, KeyError, RecursionError) as error:
        raise UsageError(f"{path} is not a JSON list of label names: {error}.") from error
    if not isinstance(content, list):
        raise UsageError(f"{path} is not a JSON list of label names.")
    return tuple(map(str, content))
