"""A cache entry on disk, read as untrusted data."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from adaptrt.store.private_folder import read_regular

_HASH = re.compile(r"[0-9a-f]{64}")
_SUFFIX = re.compile(r"(\.[A-Za-z0-9_-]{1,40}){1,6}")
_LARGEST = 1 << 20
_YEAR_3000 = 32_503_680_000


@dataclass
class Entry:
    """One result. ``files`` maps a suffix (``.engine``) to the hash of its content; ``title`` describes it."""

    key: str
    kind: str
    title: str
    created: float
    files: dict[str, str] = field(default_factory=dict)
    bytes: int = 0
    used: float = 0.0


def is_hash(text: str) -> bool:
    """Whether this is a SHA-256 hash as ``hexdigest`` writes it, and so safe as the name of a file."""
    return _HASH.fullmatch(text) is not None


def read_entry(path: Path) -> Entry | None:
    """The entry in ``KEY.json``; ``None`` if it is missing, damaged, or not a valid entry."""
    data = read_regular(path, _LARGEST)
    return parse_entry(data, path.stem) if data is not None else None


def parse_entry(data: bytes, key: str) -> Entry | None:
    """An entry for this key, with every field in its valid range; ``None`` for anything else."""
    try:
        entry = msgspec.json.decode(data, type=Entry)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    sound = (
        entry.key == key
        and is_hash(key)
        and all(_SUFFIX.fullmatch(suffix) and is_hash(content) for suffix, content in entry.files.items())
        and 0 <= entry.created < _YEAR_3000
        and 0 <= entry.used < _YEAR_3000
        and entry.bytes >= 0
        and (entry.kind + entry.title).isprintable()
    )
    return entry if sound else None
