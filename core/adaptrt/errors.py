"""Every error that adaptrt raises on purpose: what happened, and what to do next.

::

    AdaptrtError
    ├── UsageError (2)            the command or call itself is wrong
    │   ├── ShapeError            a size, batch or shape that cannot be
    │   ├── SettingsError         plugins.toml
    │   └── OutputError           the place to write to: read-only, full, busy
    ├── PluginError (3)           an adapter or extension is missing, broken or contradicts another
    │   └── DependencyError       a package is missing, or its version does not fit
    ├── ModelError (4)            the model could not be loaded
    │   ├── CheckpointError       the file is not what it should be, or wants to run code
    │   └── ImageError            an image that is not one
    ├── PatchError (5)            a patch does not fit, is not reached, or changes the result
    ├── ExportError (6)           torch.onnx.export, or an axis that came out fixed
    ├── GraphError (7)            a graph pass, or the graph that it leaves
    ├── BuildError (8)            TensorRT does not build it
    │   └── EngineError           an engine that does not load or run here
    └── VerificationError (9)     the converted model is not the model
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from adaptrt.report import Report


class AdaptrtError(Exception):
    """Base of the tree. ``message`` says what happened, ``hint`` what to do about it.

    ``report`` is what a conversion had found out when it failed.
    """

    exit_code = 1
    report: Report | None = None

    def __init__(self, message: str, *, hint: str | None = None) -> None:
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
    exit_code = 6


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
    """The full or read-only disk behind an error, if there is one: whoever was writing, it is the user's to mend."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            return found
        found = found.__cause__ or found.__context__
    return None


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """A sentence for a hint with the nearest known name, if one is near."""
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f"Did you mean {close[0]!r}?" if close else None


def nearest_file(path: Path, suffixes: Iterable[str] = ()) -> str | None:
    """A sentence for a hint on a file that is missing: the nearest name beside it, if one is near.

    ``suffixes`` are those, in lower case, that such a file can have; without them any will do.
    """
    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    wanted = set(suffixes)
    return nearest_name(path.name, [file.name for file in beside if not wanted or file.suffix.lower() in wanted])


def printable(text: str) -> str:
    """Text out of a file, for a message or a command to paste: no control characters, no line ends, no marks that
    reorder what is shown."""
    return "".join(character for character in text if character.isprintable())


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence for a hint: the nearest known name, else all of them, as far as one reads."""
    known = sorted(known)
    if not known:
        return "None is known."
    shown = known[:_READABLE]
    while len(shown) > 1 and len(", ".join(shown)) > _LONGEST:
        shown.pop()
    more = len(known) - len(shown)
    listed = ", ".join(shown) + (f" and {more} more" if more > 0 else "")
    return nearest_name(name, known) or f"Known: {listed}."
