"""``[settings.mlflow]`` of plugins.toml."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from adaptrt import Conversion, SettingsError, did_you_mean

TABLE = "settings.mlflow"


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
    tags: dict[str, str] = field(default_factory=dict)


def settings_of(ctx: Conversion) -> Settings | None:
    """The settings of this conversion; ``None`` where there is no such table, and nothing is to be recorded."""
    table = ctx.settings.get("mlflow")
    return None if table is None else _checked(table)


def _checked(table: Any) -> Settings:
    defaults = Settings()
    known = {found.name: getattr(defaults, found.name) for found in fields(Settings)}
    for key, value in table.items():
        if key not in known:
            raise SettingsError(f"[{TABLE}]: unknown key {key!r}.", hint=did_you_mean(key, known))
        if type(value) is not type(known[key]):
            raise SettingsError(
                f"[{TABLE}]: {key} is {value!r}.", hint=f"It takes {_KINDS[type(known[key])]}, such as {_EXAMPLES[key]}"
            )
    tags = {str(key): str(value) for key, value in table.get("tags", {}).items()}
    return Settings(**{**table, "tags": tags})


_KINDS = {str: "text", bool: "true or false", dict: "a table"}
_EXAMPLES = {
    "tracking_uri": '"sqlite:///mlflow.db"',
    "experiment": '"street signs"',
    "artifacts": '"mlartifacts"',
    "files": "true",
    "required": "true",
    "tags": '{ team = "vision" }',
}
