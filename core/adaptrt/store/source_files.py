"""The source files of a result, as they were when hashed. They are checked for changes before the result is cached,
since the cache returns it for the same content."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from adaptrt.errors import UsageError
from adaptrt.store.hashing import Identity, content_sha256, identity_of

MOST_FILES, MOST_BYTES = 10_000, 8 << 30  # limits for a folder to hash


class SourceFiles:
    """Files by path, each with its identity and, once computed, its hash."""

    def __init__(self) -> None:
        self._identities: dict[Path, Identity] = {}
        self._hashes: dict[Path, str] = {}

    def watch(self, path: Path) -> None:
        """Record the identity of this file without hashing it; anything that is not a file is skipped."""
        path = path.absolute()
        if path.is_file() and path not in self._identities:
            self._identities[path] = identity_of(path.stat())

    def content(self, path: Path) -> str:
        """The hash of a file, or of every name and content in a folder; a ``UsageError`` for a folder that is too large."""
        path = path.absolute()
        if path.is_dir():
            return self._folder(path)
        if path not in self._hashes:
            before = self._identities.get(path)
            identity, self._hashes[path] = read_hashed(path)
            self._identities[path] = before or identity
        return self._hashes[path]

    def changed(self) -> list[Path]:
        """The files that have been replaced, modified or removed since, by identity or by content."""
        return [path for path in self._identities if not self._is_same(path)]

    def _is_same(self, path: Path) -> bool:
        try:
            if path not in self._hashes:
                return identity_of(path.stat()) == self._identities[path]
            return read_hashed(path) == (self._identities[path], self._hashes[path])
        except OSError:
            return False

    def _folder(self, folder: Path) -> str:
        digest = hashlib.sha256()
        for path in _files_in(folder):
            name = path.relative_to(folder).as_posix()
            digest.update(f"{name}\0{self.content(path)}\0".encode(errors="surrogateescape"))
        return digest.hexdigest()


def _files_in(folder: Path) -> list[Path]:
    found: list[Path] = []
    size = 0
    for top, folders, names in os.walk(folder):
        for name in folders:
            if (Path(top) / name).is_symlink():
                raise UsageError(f"{folder} contains a link to a folder")
        for name in names:
            path = Path(top) / name
            found.append(path)
            if not path.is_file():
                raise UsageError(f"{path} is not a regular file")
            size += path.stat().st_size
            if len(found) > MOST_FILES or size > MOST_BYTES:
                raise UsageError(f"{folder} contains too many or too large files to hash")
    return sorted(found)


def changed_message(changed: list[Path]) -> str:
    """The message for files that changed while they were in use."""
    names = ", ".join(path.name for path in changed)
    return f"{names} changed during the run, so the result may come from either version"


def read_hashed(path: Path) -> tuple[Identity, str]:
    """Hash and identity of the same open file."""
    with path.open("rb") as file:
        return identity_of(os.fstat(file.fileno())), content_sha256(file)
