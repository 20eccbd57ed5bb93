"""Where an exception in a hook comes from: the plugin's own code, or the framework that it called."""

from __future__ import annotations

import traceback
from pathlib import PurePath
from types import FrameType

_CALLERS = ("adaptrt", "pluggy")  # they call hooks


def packages(error: BaseException) -> list[str]:
    """The top-level packages that took part, except those that call hooks: the one that raised comes first."""
    frames = reversed(list(traceback.walk_tb(error.__traceback__)))
    return list(dict.fromkeys(name for frame, _ in frames if (name := _package(frame)) not in _CALLERS))


def raised_at(error: BaseException, package: str | None = None, *, callers: tuple[str, ...] = ()) -> str:
    """A sentence with the file and line that raised it and, if that is another package, the plugin's line that called it.

    ``package`` is the plugin's, if known; else the first that took part, except ``callers``, further packages that call
    plugins. Empty if no line of a plugin took part.
    """
    frames = list(traceback.walk_tb(error.__traceback__))
    own = package or next(
        (_package(frame) for frame, _ in frames if _package(frame) not in (*_CALLERS, *callers)), None
    )
    if own is None:
        return ""
    last = frames[-1]
    called = next(one for one in reversed(frames) if _package(one[0]) == own)
    if called is last:
        return f"Raised at {_place(*last)}."
    return f"Raised by {_package(last[0])}, at {_place(*last)}, called at {_place(*called)}."


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _place(frame: FrameType, line: int) -> str:
    parts = PurePath(frame.f_code.co_filename).parts
    installed = [number for number, part in enumerate(parts) if part in ("site-packages", "dist-packages")]
    shown = parts[installed[-1] + 1 :] if installed else parts[-2:]
    return f"{'/'.join(shown)}:{line}"
