"""One process at a time works in a folder that jobs are continued in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from adaptrt.errors import OutputError


@contextmanager
def only_process(folder: Path, lock: str, job: str) -> Iterator[None]:
    """Hold the lock file ``lock`` in the folder. Raises an ``OutputError`` that names ``job`` if another process holds it."""
    held = FileLock(folder / lock)
    try:
        held.acquire(timeout=0.2)
    except Timeout as error:
        raise OutputError(f"Another process is running {job} in {folder}.", hint="Wait until it ends.") from error
    try:
        yield
    finally:
        held.release()
