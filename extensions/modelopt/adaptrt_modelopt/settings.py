"""``[settings.modelopt]`` of plugins.toml: what AutoCast is told, under its own names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from adaptrt import Conversion, SettingsError, did_you_mean


@dataclass(frozen=True)
class Settings:
    """``samples``: how many inputs of the verification ranges are measured on.

    ``data_max`` and ``init_max``: nodes with larger values, or larger weights, stay float32. ``nodes_to_exclude``
    (regular expressions) and ``op_types_to_exclude`` stay float32 too, besides box decoding and ``--keep-fp32``.
    ``max_depth_of_reduction``: longer sums stay float32; 0 is no limit.
    """

    samples: int = 4
    data_max: float = 512.0
    init_max: float = 65504.0
    nodes_to_exclude: tuple[str, ...] = ()
    op_types_to_exclude: tuple[str, ...] = ()
    max_depth_of_reduction: int = 0


def settings_of(ctx: Conversion) -> Settings:
    """The settings of this conversion; a ``SettingsError`` names the key that is wrong."""
    table = ctx.settings.get("modelopt", {})
    known = {found.name: getattr(Settings(), found.name) for found in fields(Settings)}
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in known:
            raise SettingsError(f"[settings.modelopt]: unknown key {key!r}.", hint=did_you_mean(key, known))
        wanted, fits = _kind_of(known[key])
        if isinstance(value, bool) or not fits(value):
            raise SettingsError(f"[settings.modelopt]: {key} is {value!r}.", hint=f"It takes {wanted}.")
        values[key] = tuple(value) if isinstance(value, list) else value
    return Settings(**values)


def _kind_of(default: object) -> tuple[str, Callable[[Any], bool]]:
    """What values like this one are, in words, and whether a value is one."""
    if isinstance(default, tuple):
        return "a list of texts", lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value)
    if isinstance(default, float):
        return "a number above 0", lambda value: isinstance(value, (int, float)) and value > 0
    return "a whole number from 0", lambda value: isinstance(value, int) and value >= 0
