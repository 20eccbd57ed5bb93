"""``[settings.mlflow]`` of plugins.toml."""

from __future__ import annotations

from dataclasses import dataclass, field

from adaptrt import Conversion, fill_settings


@dataclass(frozen=True)
class Settings:
    """Where runs are stored, and what they contain.

    ``tracking_uri``: a database or server; empty: MLflow's default (``MLFLOW_TRACKING_URI``, else
    ``sqlite:///mlflow.db``). ``artifacts``: folder or address for the artifacts of a new experiment; empty: MLflow's
    default. ``files``: whether to store the converted files too. ``required``: whether a conversion that cannot be
    recorded fails. ``tags``: added to each run.
    """

    tracking_uri: str = ""
    experiment: str = "adaptrt"
    artifacts: str = ""
    files: bool = False
    required: bool = False
    tags: dict[str, str | int | float] = field(default_factory=dict)


def settings_of(ctx: Conversion) -> Settings | None:
    """The settings of this conversion; ``None`` if plugins.toml has no such table, so that nothing is recorded."""
    table = ctx.settings.get("mlflow")
    return None if table is None else fill_settings(Settings, table, "settings.mlflow")
