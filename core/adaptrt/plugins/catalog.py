"""The catalog of first-party adapters: those that can be installed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from adaptrt.errors import PluginError

if TYPE_CHECKING:
    from adaptrt.plugins.settings import CatalogEntry

_PACKAGE = Path(__file__).parents[1]


def catalog_path() -> Path:
    """``catalog.toml`` inside an installed package; in a checkout the repository's plugins.toml, from which it is made."""
    for path in (_PACKAGE / "catalog.toml", _PACKAGE.parents[1] / "plugins.toml"):
        if path.is_file():
            return path
    raise PluginError("The catalog of adapters is missing from this installation.", hint="Reinstall adaptrt.")


def read_catalog() -> dict[str, CatalogEntry]:
    """Adapters by name."""
    from adaptrt.plugins.settings import read_settings

    return read_settings(catalog_path()).adapters
