"""plugins.toml: the catalogue of adapters, which plugins take part, and their settings."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adaptrt.errors import SettingsError, did_you_mean

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE_NAME = "plugins.toml"


class CatalogueEntry(BaseModel):
    """An adapter that can be installed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    distribution: str
    summary: str
    framework: str
    license: str
    examples: tuple[str, ...] = ()


class PluginChoice(BaseModel):
    """Which plugins take part besides the chosen adapter."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    modules: tuple[str, ...] = Field(default=(), description="modules, or .py files beside this file, to load in order")
    disable: tuple[str, ...] = Field(default=(), description="installed extensions to leave out, by name")


class Settings(BaseModel):
    """A whole plugins.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    adapters: dict[str, CatalogueEntry] = {}
    plugins: PluginChoice = PluginChoice()
    settings: dict[str, dict[str, Any]] = {}


def user_settings_path() -> Path:
    """``$XDG_CONFIG_HOME/adaptrt/plugins.toml``, or ``~/.config`` ..."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "adaptrt" / FILE_NAME


def read_settings(path: Path) -> Settings:
    """Read and check a plugins.toml; a ``SettingsError`` names file, line and the nearest key."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SettingsError(f"{path} does not exist.", hint="Check the path given to --plugins.") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise SettingsError(f"{path} cannot be read: {reason}.", hint="A plugins.toml is TOML, in UTF-8.") from error
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(f"{path} is not TOML: {error}.") from error
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        # a misspelt key often comes with the one it was meant to be, missing
        first = next((found for found in errors if found["type"] == "extra_forbidden"), errors[0])
        where = tuple(str(part) for part in first["loc"])
        dotted = ".".join(where)
        place = f"{path}:{_line_of(text, where)}"
        if first["type"] == "extra_forbidden":
            known = _known_keys(where[:-1])
            raise SettingsError(f"{place}: unknown key {dotted!r}.", hint=did_you_mean(where[-1], known)) from None
        raise SettingsError(f"{place}: {dotted}: {first['msg']}.") from None


def _known_keys(table: tuple[str, ...]) -> list[str]:
    tables: dict[str, type[BaseModel]] = {"adapters": CatalogueEntry, "plugins": PluginChoice}
    return list(tables.get(table[0] if table else "", Settings).model_fields)


def _line_of(text: str, where: tuple[str, ...]) -> int:
    """The line that most likely holds a key: the deepest part of its dotted path that the text shows, in order.

    TOML parsers keep no positions; a key written in an unusual way (inline table, escapes) gives the line of its table.
    """
    line = 1
    lines = text.splitlines()
    for part in where:
        pattern = re.compile(
            rf"^\s*\[*\s*(?:[\w\"'-]+\s*\.\s*)*[\"']?{re.escape(part)}[\"']?\s*(?:[=.\]]|$)|[{{,]\s*{re.escape(part)}\s*="
        )
        for number in range(line, len(lines) + 1):
            if pattern.search(lines[number - 1]):
                line = number
                break
    return line
