"""The cache of results: files stored by content, and entries that refer to them by key. Safe for concurrent use.

Cached files are returned as this user's own results, so nothing that another user could have written is trusted: see
``Store.problem``. Hashes and keys from files are checked before they become paths.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from filelock import FileLock
from platformdirs import user_cache_path

from adaptrt.errors import OutputError
from adaptrt.store.cache_entry import Entry, is_hash, read_entry
from adaptrt.store.private_folder import folder_problem, make_private, open_regular
from adaptrt.store.workspace import write_whole

FOLDER_VARIABLE, SIZE_VARIABLE = "ADAPTRT_CACHE_DIR", "ADAPTRT_CACHE_SIZE"
DEFAULT_SIZE = 10 << 30
_OBJECTS, _ENTRIES, _TIMING = "objects", "entries", "timing"
_SUBFOLDERS = (_OBJECTS, _ENTRIES, _TIMING)
_TITLE_LENGTH = 500


def cache_folder() -> Path:
    """``$ADAPTRT_CACHE_DIR``, else ``~/.cache/adaptrt`` on Linux, or below ``$XDG_CACHE_HOME``."""
    own = os.environ.get(FOLDER_VARIABLE)
    return Path(own) if own else user_cache_path("adaptrt")


def default_timing_folder() -> Path:
    """The folder of the timing caches, one file for each GPU, TensorRT version and builder settings."""
    return cache_folder() / _TIMING


def cache_problem(folder: Path | None = None) -> str | None:
    """Why the cache is disabled, and how to enable it; ``None`` if it is enabled."""
    folder = folder or cache_folder()
    problem = folder_problem(folder, _SUBFOLDERS)
    return f"The cache is disabled: {problem}. {_remedy(folder)}" if problem is not None else None


def _remedy(folder: Path) -> str:
    return (
        f"Remove files that other users may have placed in {folder} and run chmod 700 on it, or choose another folder: "
        f"{FOLDER_VARIABLE}=/some/folder"
    )


def key_of(parts: Mapping[str, Any]) -> str:
    """The hash of everything that a result depends on."""
    text = msgspec.json.encode(msgspec.to_builtins(parts, enc_hook=str), order="deterministic")
    return hashlib.sha256(text).hexdigest()


class Store:
    """Entries under ``entries/``, contents under ``objects/``; the least recently used are removed beyond ``limit`` bytes."""

    def __init__(self, folder: Path | None = None, limit: int | None = None) -> None:
        self.folder = folder or cache_folder()
        self.limit = limit if limit is not None else _limit()
        self._objects = self.folder / _OBJECTS
        self._entries = self.folder / _ENTRIES

    @property
    def problem(self) -> str | None:
        """Why nothing is read from or written to this folder; ``None`` if it is safe."""
        return cache_problem(self.folder)

    def find(self, key: str) -> Entry | None:
        """The entry, if all of its files exist; else ``None``. Counts as a use."""
        if not is_hash(key) or self.problem is not None:
            return None
        path = self._entry(key)
        entry = read_entry(path)
        if entry is None:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)  # damaged, or of another version
            return None
        if not all(_is_regular(self._object(content)) for content in entry.files.values()):
            return None
        with contextlib.suppress(OSError):  # a read-only cache is still useful
            os.utime(path)
        return entry

    def copy(self, entry: Entry, suffix: str, destination: Path) -> bool:
        """Copy a file out; ``False`` if its content is damaged; the entry is then removed."""
        content = entry.files[suffix]
        source = self._object(content)
        try:
            opened = open_regular(source)
        except OSError:  # gone, or a link
            self.forget(entry.key)
            return False
        with opened as file, destination.open("wb") as target:
            found, _ = _copy(file, target)
        if found == content:
            return True
        destination.unlink()
        self.forget(entry.key)
        source.unlink(missing_ok=True)
        return False

    def put(self, key: str, kind: str, title: str, files: Mapping[str, Path]) -> None:
        """Keep copies of these files under this key."""
        path = self._entry(key)
        self._require_safe()
        shown = "".join(letter if letter.isprintable() else "?" for letter in title)[:_TITLE_LENGTH]
        try:
            make_private(self.folder)
            make_private(self._entries)
            with self._lock():
                entry = Entry(key, kind, shown, time.time())
                for suffix, file in files.items():
                    entry.files[suffix], size = self._keep(file)
                    entry.bytes += size
                write_whole(path, msgspec.json.encode(entry))
            self.prune(self.limit)
        except OSError as error:
            raise OutputError(
                f"The cache {self.folder} cannot be written: {error.strerror or error}.",
                hint=f"Use --no-cache, or choose another folder: {FOLDER_VARIABLE}=/some/folder",
            ) from error

    def entries(self) -> list[Entry]:
        """All entries, most recently used first."""
        self._require_safe()
        found = []
        for path in self._entries.glob("*.json") if self._entries.is_dir() else ():
            entry = read_entry(path)
            if entry is not None:
                entry.used = path.lstat().st_mtime
                found.append(entry)
        return sorted(found, key=lambda entry: -entry.used)

    def forget(self, key: str) -> None:
        self._entry(key).unlink(missing_ok=True)

    def prune(self, limit: int = 0, older_than: float | None = None) -> tuple[int, int]:
        """Remove entries until at most ``limit`` bytes are kept, and those unused for ``older_than`` seconds.

        Returns how many entries and bytes were removed.
        """
        self._require_safe()
        if not self._entries.is_dir():
            return 0, 0
        with self._lock():
            before = self.size()
            gone, kept = 0, 0
            wanted: set[str] = set()
            for entry in self.entries():
                kept += entry.bytes
                if kept > limit or (older_than is not None and time.time() - entry.used > older_than):
                    kept -= entry.bytes
                    self.forget(entry.key)
                    gone += 1
                else:
                    wanted.update(entry.files.values())
            for path in (*self._contents(), *self._entries.glob(".*")):  # contents, and leftovers of killed runs
                if path.name not in wanted and (path.is_symlink() or not path.is_dir()):
                    path.unlink(missing_ok=True)
            return gone, before - self.size()

    def size(self) -> int:
        """Bytes of all contents."""
        return sum(path.lstat().st_size for path in self._contents())

    def _require_safe(self) -> None:
        problem = folder_problem(self.folder, _SUBFOLDERS)
        if problem is not None:
            raise OutputError(f"The cache is disabled: {problem}.", hint=_remedy(self.folder))

    def _contents(self) -> Iterator[Path]:
        for folder in self._objects.iterdir() if self._objects.is_dir() else ():
            if folder.is_dir() and not folder.is_symlink():
                yield from folder.iterdir()

    def _object(self, content: str) -> Path:
        if not is_hash(content):
            raise ValueError(f"{content!r} is not a SHA-256 hash")
        return self._objects / content[:2] / content

    def _entry(self, key: str) -> Path:
        if not is_hash(key):
            raise ValueError(f"{key!r} is not a SHA-256 hash")
        return self._entries / f"{key}.json"

    def _keep(self, path: Path) -> tuple[str, int]:
        """Copy the file into the cache; the hash and size are those of the copy."""
        make_private(self._objects)
        handle, name = tempfile.mkstemp(dir=self._entries, prefix=".")
        temporary = Path(name)
        try:
            with path.open("rb") as source, os.fdopen(handle, "wb") as target:
                content, size = _copy(source, target)
            kept = self._object(content)
            make_private(kept.parent)
            temporary.replace(kept)
        finally:
            temporary.unlink(missing_ok=True)
        return content, size

    def _lock(self) -> FileLock:
        return FileLock(self.folder / "cache.lock")


def _copy(source: BinaryIO, target: BinaryIO) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    while block := source.read(1 << 20):
        digest.update(block)
        target.write(block)
        size += len(block)
    return digest.hexdigest(), size


def _is_regular(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _limit() -> int:
    from adaptrt.specs import parse_workspace

    text = os.environ.get(SIZE_VARIABLE)
    return parse_workspace(text, SIZE_VARIABLE) if text else DEFAULT_SIZE
