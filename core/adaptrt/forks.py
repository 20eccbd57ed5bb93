"""What objects do in a forked process: it has no threads but one, and locks that the others held stay locked."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forked(Protocol):
    """An object that ``forked`` prepares for a process that was forked from the one that made it."""

    def forked(self) -> None: ...


_objects: weakref.WeakSet[Forked] = weakref.WeakSet()


def prepare_forks(one: Forked) -> None:
    """Call its ``forked`` in processes that are forked while it lives."""
    _objects.add(one)


def _prepare_all() -> None:
    for one in list(_objects):
        one.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_prepare_all)
