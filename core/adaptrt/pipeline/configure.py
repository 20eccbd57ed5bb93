"""The hook ``configure_builder`` in the build process: the session of the conversion is opened there again."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from adaptrt.pipeline.sessions import open_session
from adaptrt.request import Conversion


def configure_builder(network: Any, config: Any, context: str | None) -> None:
    """Called right before the build; ``context`` is the file that the parent process left for it."""
    assert context is not None
    ctx: Conversion = pickle.loads(Path(context).read_bytes())
    session, _ = open_session(ctx.request.adapter, ctx.request.plugins_file)
    session.hooks.configure_builder(ctx, network, config)
