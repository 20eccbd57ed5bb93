"""``--trace-plugins``: a line on standard error for each call of a hook."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from adaptrt.cli.output import echo

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from adaptrt.plugins.recorder import HookCall

# the process that builds an engine opens a session too, and reads this from the environment
VARIABLE = "ADAPTRT_TRACE_PLUGINS"


def tracing_if_requested() -> AbstractContextManager[None]:
    """Trace the hooks if the environment variable is set."""
    return traced_hooks() if os.environ.get(VARIABLE) else nullcontext()


@contextmanager
def traced_hooks() -> Iterator[None]:
    from adaptrt.pipeline.sessions import listen_to_hooks

    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "1"
    try:
        with listen_to_hooks(_print):
            yield
    finally:
        if before is None:
            del os.environ[VARIABLE]


def _print(call: HookCall) -> None:
    from adaptrt.plugins.trace import trace_line

    echo(trace_line(call), err=True)
