"""A work folder next to the result: one writer for each name; leftovers of killed runs are removed.

The lock file is inside the folder and is removed with it, so neither locks nor folders accumulate. A folder whose lock
is free belongs to no running process.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from adaptrt.errors import OutputError

_SUFFIX, _LOCK = ".adaptrt", "lock"
_PATIENCE = 0.2  # seconds; another run may be checking whether the folder is abandoned
_ATTEMPTS = 20
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}


@contextmanager
def workspace(folder: Path, name: str) -> Iterator[Path]:
    """A private folder in ``folder``, removed afterwards; no other process can have one for this name at the same time."""
    remove_abandoned(folder)
    try:
        path, lock = _claim(folder, name)
    except KeyboardInterrupt:
        remove_abandoned(folder)
        raise
    try:
        yield path
    finally:
        _remove(path)
        if lock is not None:
            lock.release()


def remove_abandoned(folder: Path) -> None:
    """Remove this user's work folders in ``folder`` that no running process owns."""
    try:
        with os.scandir(folder) as entries:
            found = [Path(entry) for entry in entries if entry.name.startswith(".") and entry.name.endswith(_SUFFIX)]
    except PermissionError:
        return  # a folder that is writable but cannot be listed
    for path in filter(_is_own_folder, found):
        if not (path / _LOCK).exists():
            with suppress(OSError):
                path.rmdir()  # killed before it was locked; a folder with contents is not ours
            continue
        try:
            lock = _locked(path, 0)
        except (Timeout, OSError):
            continue
        _remove(path)
        lock.release()


def follow_link(path: Path) -> Path:
    """The file to write for ``path``: the target of a link. Rejects links placed by other users, and non-regular files."""
    target = path
    if path.is_symlink():
        link, folder = path.lstat(), path.parent.stat()
        shared = folder.st_mode & stat.S_ISVTX and folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if shared and hasattr(os, "getuid") and link.st_uid not in (os.getuid(), folder.st_uid):
            raise OutputError(
                f"{path} is a link that another user placed in a shared folder.",
                hint="Choose another location.",
            )
        target = Path(os.path.realpath(path))
    try:
        mode = target.lstat().st_mode
    except FileNotFoundError:
        return target
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OutputError(f"{path} is not a regular file.", hint="Choose another name.")
    return target


def move_file(path: Path, target: Path) -> None:
    """Rename atomically, even if a link leads to another file system."""
    try:
        path.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:100]}.", suffix=".part")
        os.close(handle)
        aside = Path(name)
        try:
            shutil.copyfile(path, aside)
            shutil.copymode(path, aside)
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)
        path.unlink()


@contextmanager
def folder_while_used(folder: Path) -> Iterator[ExitStack]:
    """Create a folder with its parents; those created are removed at the end if they are empty, unless the stack forgets them."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    with ExitStack() as undo:
        for path in reversed(missing):
            undo.callback(_remove_if_empty, path)
            path.mkdir(exist_ok=True)
        yield undo


@contextmanager
def created_folder(folder: Path) -> Iterator[Path]:
    """The folder, created with its parents; if the block is left by any exception, those created are removed that are empty."""
    with folder_while_used(folder) as undo:
        yield folder
        undo.pop_all()


@contextmanager
def written_aside(path: Path, *, parents: bool = False) -> Iterator[Path]:
    """A temporary path next to ``path``, renamed when the block ends; removed if it is left by any exception, Ctrl-C included.

    ``parents``: create missing folders. The suffix is kept, since libraries choose the format by it. A device or a pipe (``/dev/stdout``) is written directly.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        yield path
        return
    target = follow_link(path)
    aside = target.with_name(f".{target.stem[:100]}.{os.getpid()}.part{target.suffix}")
    with created_folder(target.parent) if parents else nullcontext():
        try:
            yield aside
            aside.replace(target)
        finally:
            with suppress(OSError):
                aside.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that only this user can read, and that has its name only when it is whole. If that fails or is
    interrupted, nothing is left."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    aside = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _claim(folder: Path, name: str) -> tuple[Path, FileLock | None]:
    path = folder / f".{name}{_SUFFIX}"
    for _ in range(_ATTEMPTS):
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            if not _is_own_folder(path):  # owned by another user
                path = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=_SUFFIX, dir=folder))
        try:
            lock = _locked(path, _PATIENCE)
        except FileNotFoundError:
            continue  # its last owner was just removing it
        except Timeout:
            break
        except OSError as error:
            _remove(path)
            if error.errno not in _NO_LOCKS:
                raise
            path = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=_SUFFIX, dir=folder))
            return path, None
        _empty(path)
        return path, lock
    raise OutputError(
        f"Another conversion is currently writing {folder / f'{name}.*'}.",
        hint="Wait until it ends, or choose another name with -o.",
    )


def _locked(path: Path, seconds: float) -> FileLock:
    lock = FileLock(path / _LOCK)  # never follows a link
    lock.acquire(timeout=seconds, poll_interval=0.02)
    return lock


def _is_own_folder(path: Path) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and (not hasattr(os, "getuid") or found.st_uid == os.getuid())


def _empty(path: Path) -> None:
    for child in path.iterdir():
        if child.name == _LOCK:
            continue
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child, ignore_errors=True)
        else:
            child.unlink(missing_ok=True)


def _remove(path: Path) -> None:
    """Remove the lock last, so that no other process considers the folder free before."""
    with suppress(OSError):
        _empty(path)
        (path / _LOCK).unlink(missing_ok=True)
        path.rmdir()
