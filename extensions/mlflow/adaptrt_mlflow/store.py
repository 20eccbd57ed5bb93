"""Writes a conversion to an MLflow run with MLflow's client, so that an active run of the caller is not affected."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from adaptrt import DependencyError, Report, Request
from adaptrt.rendering.html import write_html
from adaptrt_mlflow.contents import metrics_of, params_of, tags_of
from adaptrt_mlflow.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

_BATCH = 100  # parameters and tags that MLflow takes at once


def record(settings: Settings, request: Request, report: Report) -> str:
    """Write the run; returns its experiment and id."""
    # read at import: disables telemetry unless the user enabled it
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param
    except ImportError as error:
        raise DependencyError(
            f"MLflow cannot be imported: {error}.", hint="Install it: pip install 'adaptrt-mlflow[mlflow]'"
        ) from error

    client = MlflowClient(tracking_uri=settings.tracking_uri or None)
    ended = int(time.time() * 1000)
    tags = {**tags_of(report), **{name: str(value) for name, value in settings.tags.items()}}
    first = dict(list(tags.items())[:_BATCH])
    run = client.create_run(
        _experiment(client, settings),
        start_time=ended - int(report.seconds * 1000),
        tags=first,
        run_name=f"{report.adapter} {Path(report.source).name}".strip(),
    )
    run_id = run.info.run_id
    try:
        params = [Param(key, value) for key, value in params_of(request, report).items()]
        for start in range(0, len(params), _BATCH):
            client.log_batch(run_id, params=params[start : start + _BATCH])
        client.log_batch(run_id, [Metric(key, value, ended, 0) for key, value in metrics_of(report).items()])
        for key in list(tags)[_BATCH:]:
            client.set_tag(run_id, key, tags[key])
        _log_files(client, run_id, report, files=settings.files)
    finally:
        client.set_terminated(run_id, status_of(report), end_time=ended)
    return f"experiment {settings.experiment}, run {run_id}"


def status_of(report: Report) -> str:
    """The status of the run in MLflow."""
    if report.status == "passed":
        return "FINISHED"
    return "KILLED" if report.failure is not None and report.failure.kind == "KeyboardInterrupt" else "FAILED"


def _experiment(client: MlflowClient, settings: Settings) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(settings.experiment)
    if found is None:
        artifacts = settings.artifacts
        if artifacts and "://" not in artifacts:
            artifacts = Path(artifacts).resolve().as_uri()
        try:
            created: str = client.create_experiment(settings.experiment, artifact_location=artifacts or None)
        except MlflowException:
            found = client.get_experiment_by_name(settings.experiment)
            if found is None:
                raise  # it was not that another conversion made it meanwhile
        else:
            return created
    identity: str = found.experiment_id
    return identity


def _log_files(client: MlflowClient, run_id: str, report: Report, *, files: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="adaptrt-mlflow-") as name:
        folder = Path(name)
        (folder / "report.json").write_text(report.to_json(), encoding="utf-8")
        write_html(report, folder / "report.html")
        client.log_artifacts(run_id, name)
    for file in report.files.values() if files else ():
        client.log_artifact(run_id, file.path, "files")
