"""Waiting in tests: for what has to happen, never for a time in which a quiet machine would have managed."""

from __future__ import annotations

import time
from collections.abc import Callable

HANG = 900.0
"""Seconds after which a wait is a hang, however busy the machine is; pytest's own limit for a test is twice that."""


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + HANG
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen in {HANG:.0f} s"
        time.sleep(0.01)
