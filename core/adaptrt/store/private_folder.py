"""Folders whose contents are trusted later: owned by this user, not writable by others, without links."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def folder_problem(folder: Path, inside: Iterable[str] = ()) -> str | None:
    """Why the contents of a folder cannot be trusted; ``None`` if they can, or if the folder does not exist.

    The folder itself may be a link; its subfolders named ``inside`` may not.
    """
    if not hasattr(os, "getuid"):
        return None
    real = Path(os.path.realpath(folder))
    for path in (real, *(real / name for name in inside)):
        try:
            found = path.lstat()
        except OSError:
            continue  # missing; other problems show when it is written to
        if stat.S_ISLNK(found.st_mode):
            return f"{path} is a symbolic link"
        if found.st_uid != os.getuid():
            return f"{path} belongs to another user"
        if found.st_mode & _OTHERS_WRITE:
            return f"other users can write to {path} (mode {stat.S_IMODE(found.st_mode):04o})"
    return None


def make_private(folder: Path) -> None:
    """Create a folder that only this user can enter; folders above it get the usual mode."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def read_regular(path: Path, limit: int | None = None) -> bytes | None:
    """The content of a regular file; ``None`` if it is missing, a link, something else, or larger than ``limit``."""
    try:
        with open_regular(path) as file:
            if limit is not None and os.fstat(file.fileno()).st_size > limit:
                return None
            return file.read()
    except OSError:
        return None


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading; an ``OSError`` for a link, a FIFO or a device. Never blocks."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(handle, "rb")
