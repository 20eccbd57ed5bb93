"""Names of files in one folder, each used once."""

from __future__ import annotations

from collections.abc import Iterable


class FreeNames:
    """Numbers repeated names: ``a``, ``a-2``. Case is ignored, as some file systems do.

    ``wanted``: all names that will be taken, if they are known; a number never makes one of them.
    """

    def __init__(self, wanted: Iterable[str] = ()) -> None:
        self._wanted = {name.lower() for name in wanted}
        self._taken: set[str] = set()
        self._counts: dict[str, int] = {}

    def take(self, name: str) -> str:
        key = name.lower()
        if key not in self._taken:
            self._taken.add(key)
            return name
        count = self._counts.get(key, 1) + 1
        while f"{key}-{count}" in self._taken or f"{key}-{count}" in self._wanted:
            count += 1
        self._counts[key] = count
        self._taken.add(f"{key}-{count}")
        return f"{name}-{count}"
