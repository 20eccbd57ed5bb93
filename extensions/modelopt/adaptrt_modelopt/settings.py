"""``[settings.modelopt]`` of plugins.toml: AutoCast's options under the same names, and those of quantization."""

from __future__ import annotations

from dataclasses import dataclass

from adaptrt import Conversion, SettingsError, fill_settings


@dataclass(frozen=True)
class Settings:
    """``samples``: number of verification samples to measure ranges on.

    ``data_max`` and ``init_max``: nodes with larger values, or larger weights, stay float32. ``nodes_to_exclude``
    (regular expressions) and ``op_types_to_exclude`` stay float32 too, besides box decoding and ``--keep-fp32``.
    ``max_depth_of_reduction``: longer sums stay float32; 0 means no limit. ``quantize``: also quantize to int8 with ModelOpt.
    """

    samples: int = 4
    data_max: float = 512.0
    init_max: float = 65504.0
    nodes_to_exclude: tuple[str, ...] = ()
    op_types_to_exclude: tuple[str, ...] = ()
    max_depth_of_reduction: int = 0
    quantize: bool = True

    def __post_init__(self) -> None:
        for name in ("samples", "max_depth_of_reduction"):
            if getattr(self, name) < 0:
                raise SettingsError(f"[settings.modelopt]: {name} must be at least 0; got {getattr(self, name)}.")
        for name in ("data_max", "init_max"):
            if getattr(self, name) <= 0:
                raise SettingsError(f"[settings.modelopt]: {name} must be above 0; got {getattr(self, name)}.")


def settings_of(ctx: Conversion) -> Settings:
    """The settings of this conversion; a ``SettingsError`` names the invalid key."""
    return fill_settings(Settings, ctx.settings.get("modelopt", {}), "settings.modelopt")
