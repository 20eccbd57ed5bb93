"""Hashes of files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return content_sha256(file)


def content_sha256(file: BinaryIO) -> str:
    """The hash of the rest of an open file, read in blocks."""
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
