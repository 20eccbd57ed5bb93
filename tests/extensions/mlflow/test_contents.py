"""Names and values as MLflow takes them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("adaptrt_mlflow", reason="the extension is not installed (pip install adaptrt-mlflow)")

from adaptrt import Report, Request
from adaptrt.report import ArtifactRecord, Check, FileRecord, Stage
from adaptrt_mlflow.contents import metrics_of, params_of, tags_of

ALLOWED = re.compile(r"[\w.\-][\w.\- ]*(/[\w.\-][\w.\- ]*)?", re.ASCII)


@given(st.lists(st.text(max_size=300), max_size=6))
def test_every_check_has_a_unique_name_that_mlflow_takes(names: list[str]) -> None:
    report = Report("tiny", "detector", "")
    report.link(3).checks = [Check(name, "pixels", float(number), 1.0, True) for number, name in enumerate(names)]
    metrics = metrics_of(report)
    assert all(ALLOWED.fullmatch(name) and len(name) <= 250 for name in metrics)
    assert [value for name, value in metrics.items() if name.startswith("link_3/")] == list(range(len(names)))


def test_stages_of_one_name_keep_their_times() -> None:
    report = Report("tiny", "detector", "", stages=[Stage("load", 1.0), Stage("load", 2.0)])
    report.files["onnx"] = FileRecord("detector.onnx", 12, "")
    assert metrics_of(report) == {"seconds/load": 1.0, "seconds/load 2": 2.0, "seconds/total": 3.0, "bytes/onnx": 12.0}


def test_the_numbers_of_what_was_built() -> None:
    record = {"device_memory": 20, "build_seconds": 1.5, "layers": {"fp16": 3}, "gpu": "H100", "inspected": True}
    report = Report("tiny", "detector", "", artifacts=[ArtifactRecord("rtx.engine", "rtx", "fp16", record=record)])
    found = {name: value for name, value in metrics_of(report).items() if name.startswith("rtx")}
    assert found == {"rtx.engine/device_memory": 20.0, "rtx.engine/build_seconds": 1.5}


def test_what_was_not_asked_for_is_skipped() -> None:
    request = Request("detector", "tiny", precision="fp16")
    report = Report("tiny", "detector", "", options={"kwargs.a b": 3})
    params = params_of(request, report)
    assert params == {
        "adapter": "tiny",
        "source": "detector",
        "precision": "fp16",
        "verify": "full",
        "exporter": "auto",
        "set.kwargs.a b": "3",
    }
    assert tags_of(report)["adaptrt.status"] == "running"
