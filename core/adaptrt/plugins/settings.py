"""plugins.toml: the catalog of adapters, which plugins are active, and their settings."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import msgspec

from adaptrt.errors import SettingsError, did_you_mean
from adaptrt.toml_lines import line_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE_NAME = "plugins.toml"
T = TypeVar("T")


def _described(text: str) -> Any:
    return field(default=(), metadata={"description": text})


@dataclass(frozen=True, kw_only=True)
class CatalogEntry:
    """An adapter that can be installed."""

    distribution: str
    summary: str
    framework: str
    license: str
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PluginChoice:
    """Which plugins are active besides the chosen adapter."""

    modules: tuple[str, ...] = _described("modules, or .py files next to this file, to load in order")
    disable: tuple[str, ...] = _described("installed extensions to disable, by name")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A whole plugins.toml."""

    adapters: dict[str, CatalogEntry] = field(default_factory=dict)
    plugins: PluginChoice = PluginChoice()
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)


def user_settings_path() -> Path:
    """The user's file: ``~/.config/adaptrt/plugins.toml`` on Linux, or below ``$XDG_CONFIG_HOME``."""
    from platformdirs import user_config_path

    return user_config_path("adaptrt") / FILE_NAME


def read_settings(path: Path) -> Settings:
    """Read and check a plugins.toml; a ``SettingsError`` names the file, the line and the closest key."""
    if path.is_fifo():
        raise SettingsError(f"{path} is a pipe.", hint="It is read more than once: copy its content to a file.")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SettingsError(f"{path} does not exist.", hint="Check the path given to --plugins.") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise SettingsError(f"{path} cannot be read: {reason}.", hint="plugins.toml must be TOML in UTF-8.") from error
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        hint = f'Write the name of the module into a TOML file: [plugins], then modules = ["{path.name}"]'
        raise SettingsError(
            f"{path} is not valid TOML: {error}.", hint=hint if path.suffix == ".py" else None
        ) from error
    try:
        return _checked(content)
    except _ValueError as wrong:
        place = f"{path}:{line_of(text, wrong.where) or 1}"
        raise SettingsError(f"{place}: {wrong.message}.", hint=wrong.hint) from None


class _ValueError(Exception):
    """What is wrong with a value, and the keys that lead to it."""

    def __init__(self, where: tuple[str, ...], message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.where = where
        self.message = message
        self.hint = hint


def _checked(content: Mapping[str, Any]) -> Settings:
    _require_known(content, Settings, ())
    for name, table in content.items():
        _require_table(table, (name,))
    adapters = {
        name: _table(entry, CatalogEntry, ("adapters", name)) for name, entry in content.get("adapters", {}).items()
    }
    plugins = _table(content.get("plugins", {}), PluginChoice, ("plugins",))
    for name, table in content.get("settings", {}).items():
        _require_table(table, ("settings", name))
    return Settings(adapters=adapters, plugins=plugins, settings=content.get("settings", {}))


def _table(value: Any, kind: type[T], where: tuple[str, ...]) -> T:
    _require_table(value, where)
    _require_known(value, kind, where)
    for name, wanted in get_type_hints(kind).items():
        try:
            if name in value:
                msgspec.convert(value[name], wanted)
        except msgspec.ValidationError as error:
            message, _, inside = str(error).replace("`", "").partition(" - at $")
            position = inside.strip("[]")
            raise _wrong((*where, name, *([position] if position else [])), message) from None
    missing = [one.name for one in fields(kind) if one.default is MISSING and one.name not in value]  # type: ignore[arg-type]
    if missing:
        raise _wrong((*where, missing[0]), "the key is required")
    return msgspec.convert(value, kind)


def _require_table(value: Any, where: tuple[str, ...]) -> None:
    if not isinstance(value, dict):
        raise _wrong(where, f"Expected table, got {type(value).__name__}")


def _require_known(table: Mapping[str, Any], kind: type[Any], where: tuple[str, ...]) -> None:
    known = [one.name for one in fields(kind)]
    for key in table:
        if key not in known:
            raise _ValueError((*where, key), f"unknown key {'.'.join((*where, key))!r}", did_you_mean(key, known))


def _wrong(where: tuple[str, ...], message: str) -> _ValueError:
    return _ValueError(where, f"{'.'.join(where)}: {message}")
