"""What belongs to the whole process, and is changed by one thread at a time.

Patches replace functions of modules, the exporters of torch keep their state in globals, and adapters change the search path for
modules while they load a model. Another thread would run a patched model as its reference, or restore what is not its own.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from typing import Any

from adaptrt.forks import prepare_forks


class _ProcessWide:
    def __init__(self) -> None:
        self.forked()
        prepare_forks(self)

    def forked(self) -> None:
        self.lock = threading.RLock()


_process_wide = _ProcessWide()


def process_wide() -> AbstractContextManager[Any]:
    """Wait until no other thread loads, patches or exports a model, and keep others from it meanwhile."""
    return _process_wide.lock
