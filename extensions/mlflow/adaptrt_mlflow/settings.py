"""``[settings.mlflow]`` of plugins.toml."""

from __future__ import annotations

from dataclasses import dataclass, field

from adaptrt import Conversion, fill_settings


@dataclass(frozen=True)
class Settings:
    """Where runs go, and what they hold.

    ``tracking_uri``: where; MLflow's own default (``MLFLOW_TRACKING_URI``, else ``sqlite:///mlflow.db``) if empty.
    ``artifacts``: folder or address for the artifacts of an experiment that does not exist yet; MLflow's default if
    empty. ``files``: whether the converted files are kept too. ``required``: whether a conversion fails that cannot be
    recorded. ``tags``: added to each run.
    """

    tracking_uri: str = ""
    experiment: str = "adaptrt"
    artifacts: str = ""
    files: bool = False
    required: bool = False
    tags: dict[str, str | int | float] = field(default_factory=dict)


def settings_of(ctx: Conversion) -> Settings | None:
    """The settings of this conversion; ``None`` where there is no such table, and nothing is to be recorded."""
    table = ctx.settings.get("mlflow")
    return None if table is None else fill_settings(Settings, table, "settings.mlflow")
