"""What belongs to the whole process, and is changed by one thread at a time.

Patches replace functions of modules, the exporters of torch keep their state in globals, and adapters change the search path for
modules while they load a model. Another thread would run a patched model as its reference, or restore what is not its own.
"""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager
from typing import Any

_lock = threading.RLock()


def process_wide() -> AbstractContextManager[Any]:
    """Wait until no other thread loads, patches or exports a model, and keep others from it meanwhile."""
    return _lock


def _forget_lock() -> None:
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):  # a forked process does not have the thread that holds it
    os.register_at_fork(after_in_child=_forget_lock)
