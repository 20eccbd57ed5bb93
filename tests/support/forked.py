"""What a forked process does, while other threads of its parent hold locks."""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import pytest
from patience import HANG


def forks(test: Callable[..., Any]) -> Callable[..., Any]:
    """A test that forks: Python warns of forks while there are other threads."""
    marked = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")(test)
    return pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")(marked)


def succeeds_in_fork(call: Callable[[], Any], held: Sequence[AbstractContextManager[Any]]) -> bool:
    """Whether ``call`` returns true in a forked process; another thread holds the locks ``held`` at the fork."""
    locked, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with ExitStack() as stack:
            for lock in held:
                stack.enter_context(lock)
            locked.set()
            assert may_end.wait(HANG)

    thread = threading.Thread(target=hold)
    thread.start()
    assert locked.wait(HANG)
    child = os.fork()
    if child == 0:
        signal.alarm(int(HANG))  # ends it, should it hang
        status = 1
        try:
            status = 0 if call() else 2
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    may_end.set()
    thread.join()
    return os.waitpid(child, 0)[1] == 0
