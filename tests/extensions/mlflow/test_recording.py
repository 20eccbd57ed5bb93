"""Conversions of the tiny adapter, read back from MLflow."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mlflow", reason="recording needs MLflow (pip install 'adaptrt-mlflow[mlflow]')")

import adaptrt
from adaptrt import PluginError, Report, SettingsError

Install = Callable[..., str]


@pytest.fixture(autouse=True)
def _in_a_separate_folder(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's file store is the fastest; MLflow wants to be told that it is meant."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")


def settings(text: str = "", uri: str = "") -> None:
    Path("plugins.toml").write_text(f'[settings.mlflow]\ntracking_uri = "{uri or store()}"\n{text}')


def store() -> str:
    """Absolute, since MLflow keeps what it opened by its address."""
    return Path("store").resolve().as_uri()


def convert(**options: Any) -> Report:
    file = "plugins.toml" if Path("plugins.toml").is_file() else None
    return adaptrt.convert("detector", adapter="tiny", **{"verify": "quick", "plugins_file": file, **options})


def the_run(experiment: str = "adaptrt", uri: str = "") -> Any:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri or store())
    found = client.get_experiment_by_name(experiment)
    assert found is not None, "no such experiment"
    (run,) = client.search_runs([found.experiment_id])
    run.artifacts = {file.path for file in client.list_artifacts(run.info.run_id)}
    run.folder = Path(client.download_artifacts(run.info.run_id, ""))
    return run


@pytest.mark.parametrize(
    "database", [False, pytest.param(True, marks=pytest.mark.full)]
)  # MLflow takes seconds to make one
def test_a_conversion_becomes_a_run(database: bool) -> None:
    uri = f"sqlite:///{Path('mlflow.db').resolve()}" if database else store()
    settings('experiment = "shapes"\nartifacts = "kept"\n', uri)
    report = convert(options={"conf": "0.4"})
    assert report.warnings == []
    run = the_run("shapes", uri)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "tiny detector"
    wanted = {"adapter": "tiny", "source": "detector", "precision": "fp32", "verify": "quick", "set.conf": "0.4"}
    assert run.data.params.items() >= {**wanted, "shape.images": "batch:1..4@2x3x64x64"}.items()
    metrics = run.data.metrics
    (boxes,) = (check for check in report.link(2).checks if check.title == "output0: boxes")
    assert metrics["link_2/output0 boxes"] == pytest.approx(boxes.value)
    assert metrics["nodes/final"] == sum(report.operators["final"].values())
    assert metrics["seconds/export"] == pytest.approx(
        next(one.seconds for one in report.stages if one.name == "export")
    )
    assert metrics["bytes/onnx"] == Path("detector.onnx").stat().st_size
    tags = run.data.tags
    assert (tags["adaptrt.status"], tags["adaptrt.link_2"], tags["adaptrt.link_4"]) == ("passed", "passed", "not run")
    assert tags["plugin.tiny"] == "adaptrt-tiny 0.3"
    assert run.artifacts == {"report.json", "report.html"}
    assert json.loads((run.folder / "report.json").read_text())["status"] == "passed"
    assert "detector" in (run.folder / "report.html").read_text()
    assert Path("kept").is_dir()


def test_a_failed_conversion_is_recorded_too(install_extension: Install) -> None:
    settings()
    install_extension("broken", "@hookimpl\ndef graph_passes():\n    raise RuntimeError('no idea')\n")
    with pytest.raises(PluginError, match="no idea"):
        convert()
    run = the_run()
    assert run.info.status == "FAILED"
    assert run.data.tags["adaptrt.failure"] == "PluginError"
    assert run.data.tags["adaptrt.failure.stage"] == "passes"
    assert "no idea" in run.data.tags["adaptrt.failure.message"]
    assert run.data.metrics["seconds/export"] > 0
    assert json.loads((run.folder / "report.json").read_text())["failure"]["stage"] == "passes"


def test_an_interrupted_conversion_was_killed(install_extension: Install) -> None:
    settings()
    install_extension("impatient", "@hookimpl\ndef graph_passes():\n    raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        convert()
    assert the_run().info.status == "KILLED"


def test_a_build_is_recorded_too() -> None:
    convert(verify="none")
    settings()
    report = adaptrt.build(
        "detector.onnx", precision="fp16", target=10, verify="quick", output="built", plugins_file="plugins.toml"
    )
    run = the_run()
    assert run.info.run_name == "detector.onnx"
    assert run.data.params["precision"] == "fp16"
    assert run.data.tags["adaptrt.link_3"] == "passed"
    assert run.data.metrics["bytes/reduced"] == report.files["reduced"].bytes


def test_the_files_are_kept_where_asked_for() -> None:
    settings('files = true\ntags = { team = "vision" }\n')
    convert(verify="none")
    run = the_run()
    assert run.data.tags["team"] == "vision"
    assert (run.folder / "files" / "detector.onnx").read_bytes() == Path("detector.onnx").read_bytes()


def test_nothing_is_recorded_unasked() -> None:
    convert(verify="none")
    assert not Path("mlruns").exists()
    assert not Path("mlflow.db").exists()


def test_a_run_that_the_caller_has_open_is_left_alone() -> None:
    import mlflow

    settings()
    mlflow.set_tracking_uri(Path("own").resolve().as_uri())
    with mlflow.start_run() as own:
        convert(verify="none")
        active = mlflow.active_run()
        assert active is not None
        assert active.info.run_id == own.info.run_id
    assert mlflow.get_run(own.info.run_id).data.params == {}
    assert the_run().info.status == "FINISHED"


@pytest.fixture
def no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """What MLflow does by itself: refuse a file store."""
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE")


@pytest.mark.usefixtures("no_store")
def test_what_cannot_be_recorded_is_a_warning() -> None:
    settings()
    report = convert(verify="none")
    assert report.status == "passed"
    assert Path("detector.onnx").is_file()
    (warning,) = report.warnings
    assert warning.startswith("The conversion was not recorded in MLflow: MlflowException: The filesystem tracking")


@pytest.mark.usefixtures("no_store")
def test_what_has_to_be_recorded_is_an_error_and_the_files_stay() -> None:
    settings("required = true\n")
    with pytest.raises(PluginError, match="was not recorded in MLflow") as caught:
        convert(verify="none")
    assert caught.value.hint is not None
    assert "The files were written: detector.onnx" in caught.value.hint
    assert Path("detector.onnx").is_file()


@pytest.mark.usefixtures("no_store")
def test_a_failure_is_reported_before_the_error_of_its_record(install_extension: Install) -> None:
    settings("required = true\n")
    install_extension("broken", "@hookimpl\ndef graph_passes():\n    raise RuntimeError('no idea')\n")
    with pytest.raises(PluginError, match="no idea") as caught:
        convert(verify="none")
    assert caught.value.report is not None
    assert any("not recorded in MLflow" in warning for warning in caught.value.report.warnings)


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ('experment = "x"', "[settings.mlflow]: unknown key 'experment'.", "Did you mean 'experiment'?"),
        ('files = "yes"', "[settings.mlflow]: files is 'yes'.", "Expected bool, got str."),
        ("tags = 3", "[settings.mlflow]: tags is 3.", "Expected object, got int."),
    ],
)
def test_invalid_settings_are_reported_before_the_export(line: str, message: str, hint: str) -> None:
    settings(line + "\n")
    with pytest.raises(SettingsError) as caught:
        convert()
    assert (caught.value.message, caught.value.hint) == (message, hint)
    assert caught.value.report is not None
    assert caught.value.report.failure is not None
    assert caught.value.report.failure.stage == "spec"


def test_without_mlflow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    settings()
    monkeypatch.setitem(sys.modules, "mlflow", None)
    (warning,) = convert(verify="none").warnings
    assert warning.startswith("The conversion was not recorded in MLflow: MLflow cannot be imported: ")
    assert warning.endswith("Install it: pip install 'adaptrt-mlflow[mlflow]'")
