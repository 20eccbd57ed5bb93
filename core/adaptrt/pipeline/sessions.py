"""Opens the plugin session of a conversion or of a loaded model."""

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
from adaptrt.specs.registry import skipped_plugins

_listener: ContextVar[Callable[[HookCall], None] | None] = ContextVar("listener", default=None)


def open_session(adapter: str | None, plugins_file: Path | None = None) -> tuple[Session, Settings]:
    """Core, the adapter, extensions.

    A plugins.toml of the current folder may be somebody else's: the modules it names are code, and its settings could
    send data elsewhere, so both wait for ``--plugins``. The user's own configuration is trusted.
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
    session.warnings.extend(skipped_plugins())
    return session, settings


@contextmanager
def listen_to_hooks(callback: Callable[[HookCall], None]) -> Iterator[None]:
    """Each call of a hook, with its result, goes to ``callback`` in every session that is opened meanwhile."""
    token = _listener.set(callback)
    try:
        yield
    finally:
        _listener.reset(token)


def _untrusted(settings: Settings, session: Session) -> Settings:
    """What a file that nobody named may say: which extensions to leave out."""
    if settings.plugins.modules:
        session.warnings.append(
            f"{FILE_NAME} of this folder names modules ({', '.join(settings.plugins.modules)}): not loaded "
            f"without --plugins {FILE_NAME}."
        )
    if settings.settings:
        tables = ", ".join(f"[settings.{name}]" for name in settings.settings)
        session.warnings.append(f"{tables} in {FILE_NAME} of this folder: ignored without --plugins {FILE_NAME}.")
    return replace(settings, settings={})
