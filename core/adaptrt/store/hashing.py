"""Hashes of files."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import BinaryIO

# device, inode, size, mtime and ctime (renaming back and forth changes only the ctime)
Identity = tuple[int, int, int, int, int]

_SETTLED = 2.0  # seconds; some file systems keep times so coarsely that a change within them does not show
_known: dict[Identity, str] = {}


def file_sha256(path: Path) -> str:
    """The hash of a file, which is read once as long as nothing writes to it: an engine has gigabytes."""
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        identity = identity_of(found)
        digest = _known.get(identity)
        if digest is not None:
            return digest
        started = time.time()
        digest = content_sha256(file)
        if (
            started - max(found.st_mtime, found.st_ctime) > _SETTLED
            and identity_of(os.fstat(file.fileno())) == identity
        ):
            _known[identity] = digest
        return digest


def content_sha256(file: BinaryIO) -> str:
    """The hash of the rest of an open file, read in blocks."""
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def identity_of(found: os.stat_result) -> Identity:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
