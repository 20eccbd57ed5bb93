"""The hook ``configure_builder`` in the build process: the session of the conversion is reopened there.

No caller can pass a callback to that process, so ``ADAPTRT_TRACE_PLUGINS`` is read here.
"""

from __future__ import annotations

import os
import pickle
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from adaptrt.pipeline.sessions import listen_to_hooks, open_session
from adaptrt.plugins.recorder import HookCall
from adaptrt.plugins.trace import trace_line
from adaptrt.request import Conversion


def configure_builder(network: Any, config: Any, context: str | None) -> None:
    """Called right before the build; ``context`` is a file written by the parent process."""
    assert context is not None
    ctx: Conversion = pickle.loads(Path(context).read_bytes())
    with listen_to_hooks(_write_trace) if os.environ.get("ADAPTRT_TRACE_PLUGINS") else nullcontext():
        session, _ = open_session(ctx.request.adapter, ctx.request.plugins_file)
    session.hooks.configure_builder(ctx, network, config)


def _write_trace(call: HookCall) -> None:
    sys.stderr.write(f"{trace_line(call)}\n")
