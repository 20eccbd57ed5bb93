"""Opens the plugin session of a conversion or of a loaded model."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from adaptrt.builtins import DEFAULTS
from adaptrt.plugins.recorder import HookCall
from adaptrt.plugins.session import Session
from adaptrt.plugins.settings import FILE_NAME, Settings, read_settings, user_settings_path
from adaptrt.plugins.trace import trace_line

TRACE_VARIABLE = "ADAPTRT_TRACE_PLUGINS"


def open_session(adapter: str | None, plugins_file: Path | None = None) -> tuple[Session, Settings]:
    """Core, the adapter, extensions. A plugins.toml of the current folder is read, but its modules are code and wait
    for ``--plugins``; the user's own configuration is trusted."""
    session = Session(DEFAULTS, on_call=_trace if os.environ.get(TRACE_VARIABLE) else None)
    if adapter is not None:
        session.add_adapter(adapter)
    settings, path = Settings(), None
    if plugins_file is not None:
        settings, path = read_settings(plugins_file), plugins_file
    elif Path(FILE_NAME).is_file():
        settings = read_settings(Path(FILE_NAME))
        if settings.plugins.modules:
            session.warnings.append(
                f"{FILE_NAME} of this folder names modules ({', '.join(settings.plugins.modules)}): not loaded "
                f"without --plugins {FILE_NAME}."
            )
    elif user_settings_path().is_file():
        path = user_settings_path()
        settings = read_settings(path)
    session.add_extensions(settings, path)
    return session, settings


def _trace(call: HookCall) -> None:
    sys.stderr.write(f"{trace_line(call)}\n")
