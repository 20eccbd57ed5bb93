"""What goes to standard output, and what must not."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import click


def echo_json(content: Any) -> None:
    click.echo(json.dumps(content, indent=2, ensure_ascii=False))


@contextlib.contextmanager
def frameworks_kept_off_stdout(verbose: int = 0) -> Iterator[None]:
    """Standard output belongs to the result: whatever else prints there, C code too, goes to standard error.

    Warnings of the frameworks are shown from ``-v`` on.
    """
    saved = _stdout_to_stderr()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
            if not verbose:
                warnings.simplefilter("ignore")
            yield
    finally:
        if saved is not None:
            os.dup2(saved, 1)
            os.close(saved)


def _stdout_to_stderr() -> int | None:
    """A copy of the file descriptor of standard output; ``None`` in a process without one."""
    sys.stdout.flush()
    try:
        saved = os.dup(1)
        os.dup2(2, 1)
    except OSError:
        return None
    return saved
