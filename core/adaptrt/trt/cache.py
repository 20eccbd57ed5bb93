"""Where results are kept between runs: files by their content, entries that name them by key. Safe under concurrent use."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from filelock import FileLock

from adaptrt.errors import OutputError
from adaptrt.trt.manifest import file_sha256

FOLDER_VARIABLE, SIZE_VARIABLE = "ADAPTRT_CACHE_DIR", "ADAPTRT_CACHE_SIZE"
DEFAULT_SIZE = 10 << 30


def cache_folder() -> Path:
    """``$ADAPTRT_CACHE_DIR``, else ``adaptrt`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    own = os.environ.get(FOLDER_VARIABLE)
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "adaptrt"


def default_timing_folder() -> Path:
    """The folder of the timing caches, one file for each GPU and TensorRT version."""
    return cache_folder() / "timing"


@dataclass
class Entry:
    """One result. ``files`` maps a suffix (``.engine``) to the hash of its content; ``title`` says what it is."""

    key: str
    kind: str
    title: str
    created: float
    files: dict[str, str] = field(default_factory=dict)
    bytes: int = 0
    used: float = 0.0


def key_of(parts: Mapping[str, Any]) -> str:
    """The hash of everything that a result depends on."""
    text = msgspec.json.encode(msgspec.to_builtins(parts, enc_hook=str), order="deterministic")
    return hashlib.sha256(text).hexdigest()


class Store:
    """Entries under ``entries/``, contents under ``objects/``; the least recently used go when ``limit`` bytes are passed."""

    def __init__(self, folder: Path | None = None, limit: int | None = None) -> None:
        self.folder = folder or cache_folder()
        self.limit = limit if limit is not None else _limit()
        self._objects = self.folder / "objects"
        self._entries = self.folder / "entries"

    def find(self, key: str) -> Entry | None:
        """The entry, all of its files there; ``None`` otherwise. Counts as a use."""
        path = self._entries / f"{key}.json"
        entry = _read(path)
        if entry is None or not all(self._object(content).is_file() for content in entry.files.values()):
            return None
        with contextlib.suppress(OSError):  # a cache that may only be read is of use too
            os.utime(path)
        return entry

    def copy(self, entry: Entry, suffix: str, destination: Path) -> bool:
        """Copy a file out; ``False`` if its content was damaged, and the entry is forgotten then."""
        content = entry.files[suffix]
        source = self._object(content)
        digest = hashlib.sha256()
        try:
            with source.open("rb") as file, destination.open("wb") as target:
                while block := file.read(1 << 20):
                    digest.update(block)
                    target.write(block)
        except FileNotFoundError:
            return False
        if digest.hexdigest() == content:
            return True
        destination.unlink()
        self.forget(entry.key)
        source.unlink(missing_ok=True)
        return False

    def put(self, key: str, kind: str, title: str, files: Mapping[str, Path]) -> None:
        """Keep copies of these files under this key."""
        try:
            self._entries.mkdir(parents=True, exist_ok=True)
            with self._lock():
                entry = Entry(key, kind, title, time.time())
                for suffix, path in files.items():
                    entry.files[suffix] = self._keep(path)
                    entry.bytes += path.stat().st_size
                _write(self._entries / f"{key}.json", msgspec.json.encode(entry))
            self.prune(self.limit)
        except OSError as error:
            raise OutputError(
                f"The cache {self.folder} cannot be written: {error.strerror or error}.",
                hint=f"Use --no-cache, or another place: {FOLDER_VARIABLE}=/some/folder",
            ) from error

    def entries(self) -> list[Entry]:
        """All entries, the most recently used first."""
        found = []
        for path in self._entries.glob("*.json") if self._entries.is_dir() else ():
            entry = _read(path)
            if entry is not None:
                entry.used = path.stat().st_mtime
                found.append(entry)
        return sorted(found, key=lambda entry: -entry.used)

    def forget(self, key: str) -> None:
        (self._entries / f"{key}.json").unlink(missing_ok=True)

    def prune(self, limit: int = 0, older_than: float | None = None) -> tuple[int, int]:
        """Remove entries until at most ``limit`` bytes are kept, and those unused for ``older_than`` seconds.

        How many entries went, and how many bytes.
        """
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
            for path in self._contents():
                if path.name not in wanted:
                    path.unlink(missing_ok=True)
            return gone, before - self.size()

    def size(self) -> int:
        """Bytes of all contents."""
        return sum(path.stat().st_size for path in self._contents())

    def _contents(self) -> Iterator[Path]:
        return self._objects.glob("*/*") if self._objects.is_dir() else iter(())

    def _object(self, content: str) -> Path:
        return self._objects / content[:2] / content

    def _keep(self, path: Path) -> str:
        content = file_sha256(path)
        kept = self._object(content)
        if not kept.is_file() or kept.stat().st_size != path.stat().st_size:
            kept.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=kept.parent)
            os.close(handle)
            shutil.copyfile(path, temporary)
            Path(temporary).replace(kept)
        return content

    def _lock(self) -> FileLock:
        return FileLock(self.folder / "cache.lock")


def _read(path: Path) -> Entry | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Entry)
    except (OSError, msgspec.DecodeError):
        return None  # gone, or half a thing of another version: as if it were not there


def _write(path: Path, data: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".")
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    Path(temporary).replace(path)


def _limit() -> int:
    from adaptrt.specs import parse_workspace

    text = os.environ.get(SIZE_VARIABLE)
    return parse_workspace(text, SIZE_VARIABLE) if text else DEFAULT_SIZE
