"""Every error that adaptrt raises intentionally: what happened, and what to do next.

::

    AdaptrtError
    ├── UsageError (2)            the command or call itself is wrong
    │   ├── ShapeError            an invalid size, batch or shape
    │   ├── SettingsError         plugins.toml
    │   └── OutputError           the output location: read-only, full, busy
    ├── PluginError (3)           an adapter or extension is missing, broken or conflicts with another
    │   └── DependencyError       a package is missing or has an unsupported version
    ├── ModelError (4)            the model could not be loaded
    │   ├── CheckpointError       the file is damaged, of another kind, or requires running code
    │   └── ImageError            a file that is not a valid image
    ├── PatchError (5)            a patch does not apply, is never called, or changes the result
    ├── ExportError (6)           torch.onnx.export failed, or fixed a dynamic axis
    ├── GraphError (7)            a graph pass failed or left an invalid graph
    ├── BuildError (8)            the build of the engine failed
    │   └── EngineError           an engine cannot be loaded or run on this machine
    └── VerificationError (9)     the converted model differs from the original
"""

from __future__ import annotations

import difflib
import errno
import os
import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from adaptrt.report import Report


class AdaptrtError(Exception):
    """Base class of all errors. ``message`` says what happened, ``hint`` what to do about it.

    ``report`` is the report of the conversion up to its failure.
    """

    exit_code = 1
    report: Report | None = None

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        if message.endswith("..") and not message.endswith("..."):  # a quoted error ended in a period too
            message = message[:-1]
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(AdaptrtError):
    exit_code = 2


class ShapeError(UsageError):
    pass


class SettingsError(UsageError):
    pass


class OutputError(UsageError):
    pass


class PluginError(AdaptrtError):
    exit_code = 3


class DependencyError(PluginError):
    pass


class ModelError(AdaptrtError):
    exit_code = 4


class CheckpointError(ModelError):
    pass


class ImageError(ModelError):
    pass


class PatchError(AdaptrtError):
    exit_code = 5


class ExportError(AdaptrtError):
    """``general_hint``: the hint suits every failure, so that of another attempt is more helpful."""

    exit_code = 6

    def __init__(self, message: str, *, hint: str | None = None, general_hint: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.general_hint = general_hint


class GraphError(AdaptrtError):
    exit_code = 7


class BuildError(AdaptrtError):
    exit_code = 8


class EngineError(BuildError):
    pass


class VerificationError(AdaptrtError):
    exit_code = 9


_READABLE, _LONGEST = 24, 270  # names in a hint, and their characters


def disk_error(error: BaseException) -> OSError | None:
    """The full or read-only disk that caused an error, if any: something only the user can fix."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
            return found
        found = found.__cause__ or found.__context__
    return None


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """A hint with the closest known name, if one is close."""
    close = _closest(name, known)
    return None if close is None else f"Did you mean {close!r}?"


def _closest(name: str, known: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)), None)


def nearest_option(name: str, known: Iterable[str]) -> str:
    """A hint with the options that have this name as a word (``--save-csv`` for ``--csv``), else with a misspelt one; may be empty."""
    known = sorted(known)
    words = name.strip("-")
    close = [option for option in known if words and f"-{words}-" in f"{option[1:]}-"]
    close = close or difflib.get_close_matches(name, known, n=1, cutoff=0.8)  # --csv is not near --set
    return f"Did you mean {' or '.join(map(repr, close[:3]))}?" if close else ""


def nearest_file(path: Path, suffixes: Iterable[str] = ()) -> str | None:
    """A hint for a missing file: a broken link, a pipe, or else the path of the file with the closest name in the same folder, if one
    is close.

    ``suffixes`` limits the candidates (lower case); empty: any file.
    """
    if os.path.exists(path) and not path.is_dir():  # noqa: PTH110  (a name may be too long for Path.exists)
        return "It is a pipe or a device: copy its content to a file."
    if os.path.islink(path):  # noqa: PTH114
        return f"It is a link to {printable(str(path.readlink()))}, which does not exist."
    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    wanted = set(suffixes)
    close = _closest(path.name, [file.name for file in beside if not wanted or file.suffix.lower() in wanted])
    return None if close is None else f"Did you mean {str(path.parent / close)!r}?"


def printable(text: str) -> str:
    """Text from a file, made safe for a message or a command to paste: no control characters, line breaks, or
    bidirectional marks."""
    return "".join(character for character in text if character.isprintable())


def in_shell(path: str | Path) -> str:
    """A path as a shell reads it, for a command to paste."""
    return printable(shlex.quote(str(path)))


def empty_value(what: str) -> UsageError:
    """The error for an empty text where a name or a value is expected."""
    return UsageError(f"{what} is empty.", hint="A variable of the shell may be unset.")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint with the closest known name or, if none is close, with the known names (shortened if there are many)."""
    known = sorted(known)
    if not known:
        return "No names are available."
    shown = known[:_READABLE]
    while len(shown) > 1 and len(", ".join(shown)) > _LONGEST:
        shown.pop()
    more = len(known) - len(shown)
    listed = ", ".join(shown) + (f" and {more} more" if more > 0 else "")
    return nearest_name(name, known) or f"Available: {listed}."
