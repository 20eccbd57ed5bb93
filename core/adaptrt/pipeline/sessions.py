"""Opens the plugin session of a conversion or a loaded model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path

from adaptrt.builtins import DEFAULTS
from adaptrt.plugins.recorder import HookCall
from adaptrt.plugins.session import Session
from adaptrt.plugins.settings import FILE_NAME, Settings, read_settings, user_settings_path
from adaptrt.specs.registry import skipped_plugins, unread_groups

_listener: ContextVar[Callable[[HookCall], None] | None] = ContextVar("listener", default=None)


def open_session(adapter: str | None, plugins_file: Path | None = None) -> tuple[Session, Settings]:
    """Register core, the adapter and extensions.

    A plugins.toml in the current folder is not trusted: the modules it names are code, and its settings could send data
    elsewhere, so both need ``--plugins``. The user's own configuration is trusted.
    """
    session = Session(DEFAULTS, on_call=_listener.get())
    if adapter is not None:
        session.add_adapter(adapter)
    settings, path = Settings(), None
    if plugins_file is not None:
        settings, path = read_settings(plugins_file), plugins_file
    elif Path(FILE_NAME).is_file():
        settings = _untrusted(read_settings(Path(FILE_NAME)), session)
    elif user_settings_path().is_file():
        path = user_settings_path()
        settings = read_settings(path)
    session.add_extensions(settings, path)
    session.warnings.extend([*skipped_plugins(), *unread_groups()])
    return session, settings


@contextmanager
def listen_to_hooks(callback: Callable[[HookCall], None]) -> Iterator[None]:
    """Pass each hook call, with its result, to ``callback``, in every session opened within the context."""
    token = _listener.set(callback)
    try:
        yield
    finally:
        _listener.reset(token)


def _untrusted(settings: Settings, session: Session) -> Settings:
    """The allowed settings of an untrusted file: which extensions to skip."""
    if settings.plugins.modules:
        session.warnings.append(
            f"{FILE_NAME} in this folder names modules ({', '.join(settings.plugins.modules)}): not loaded "
            f"without --plugins {FILE_NAME}."
        )
    if settings.settings:
        tables = ", ".join(f"[settings.{name}]" for name in settings.settings)
        session.warnings.append(f"{tables} in {FILE_NAME} in this folder: ignored without --plugins {FILE_NAME}.")
    return replace(settings, settings={})
