"""The documented parameters of a dataclass: those of its bases, and its own."""

from __future__ import annotations

import inspect
import re

_ENTRY = re.compile(r"^- .*?(?=^- |\Z)", re.MULTILINE | re.DOTALL)


def documented(params: type) -> str:
    """The docstring of ``params``, in whose list an entry ``- ``name``: ...`` of a base is kept if it has none for that name."""
    entries: dict[str, str] = {}
    for kind in reversed(params.__mro__):
        for entry in _ENTRY.findall(_own(kind)):
            entries[entry.partition(":")[0]] = entry.rstrip()
    intro = _ENTRY.sub("", _own(params)).strip()
    return "\n\n".join(filter(None, [intro, "\n".join(entries.values())]))


def _own(kind: type) -> str:
    return inspect.cleandoc(kind.__dict__.get("__doc__") or "")
