"""Records each conversion in MLflow: the request, the measured values, the report. See ``[settings.mlflow]``.

MLflow is imported when a conversion ends, and only if plugins.toml has that table.
"""

from __future__ import annotations

from collections.abc import Generator

from adaptrt import AdaptrtError, Conversion, ModelSpec, PluginError, Report, hookimpl
from adaptrt_mlflow.settings import settings_of


@hookimpl(wrapper=True)
def model_spec(ctx: Conversion) -> Generator[None, ModelSpec, ModelSpec]:
    """Checks the settings, so that an invalid one is reported before the conversion runs. Changes nothing."""
    settings_of(ctx)
    return (yield)


@hookimpl
def conversion_finished(ctx: Conversion, report: Report) -> None:
    """Record the conversion. A failure is only a warning, because the conversion itself succeeded, unless ``required``."""
    required = False
    try:
        settings = settings_of(ctx)
        if settings is None:
            return
        required = settings.required
        from adaptrt_mlflow.store import record

        ctx.tell(f"recorded in MLflow: {record(settings, ctx.request, report)}")
    except Exception as error:  # a database, a server, a disk: each raises other kinds
        reason = (
            f"{error.message} {error.hint or ''}".strip() if isinstance(error, AdaptrtError) else _first_line(error)
        )
        message = f"The conversion was not recorded in MLflow: {reason}"
        if required:
            raise PluginError(
                message, hint="To make this a warning, remove required = true from [settings.mlflow]."
            ) from error
        ctx.warn(message)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
