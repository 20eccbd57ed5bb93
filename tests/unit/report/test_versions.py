"""Files that earlier versions wrote are read; those of later versions are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adaptrt import ModelError, ModelSpec, PluginError, Report
from adaptrt.backends.tensorrt.manifest import FORMAT, Manifest
from adaptrt.report import Check

DATA = Path(__file__).parent / "data"


def require_todays_spec(spec: ModelSpec | None) -> None:
    assert spec is not None
    assert spec.version == ModelSpec.version == 2
    (group,) = spec.outputs[0].groups
    assert group.rank_sensitive
    assert group.tolerances is not None
    assert group.tolerances["fp32"].atol == 0.02
    assert ModelSpec.from_json(spec.to_json()) == spec


def test_a_spec_of_version_1() -> None:
    require_todays_spec(ModelSpec.from_json((DATA / "spec_1.json").read_bytes()))


def test_a_report_of_version_1() -> None:
    report = Report.from_json((DATA / "report_1.json").read_bytes())
    require_todays_spec(report.spec)
    assert report.version == Report.version == 3
    assert [(check.name, check.kind, check.title) for check in report.link(2).checks] == [
        ("boxes", "samples", "boxes"),
        ("boxes", "batch", "boxes in a batch"),
    ]
    assert report.link(2).checks[1].value == float("inf")
    assert [check.kind for check in report.link(3).checks] == ["file"]
    assert [check.kind for check in report.link(5).checks] == ["metric"]
    assert [image.path for image in report.images] == ["street.jpg"]
    assert report.files["reduced"].path == "detr.fp16.onnx"
    assert report.findings[0].places[0].line == 3
    assert Report.from_json(report.to_json()) == report


def test_a_manifest_of_format_1() -> None:
    manifest = Manifest.from_json((DATA / "manifest_1.json").read_bytes())
    require_todays_spec(manifest.spec)
    assert manifest.format == FORMAT == "adaptrt engine 2"
    assert manifest.precision_report.layers == {"fp16": 3}
    assert manifest.precision_report.table[0].name == "conv"
    assert manifest.checks[2].checks[1].kind == "batch"
    assert Manifest.from_json(manifest.to_json()) == manifest


@pytest.mark.parametrize(
    ("name", "former", "kind", "title"),
    [
        ("logits on rows held back", "samples", "held back", "logits on rows held back"),
        ("same top-1, in a batch of 4", "metric", "batch", "same top-1 in a batch"),
        ("same top-1, with the Q/DQ graph", "metric", "same graph", "same top-1 vs. the Q/DQ graph"),
        ("frames in a batch", "metric", "metric", "frames in a batch"),  # the name of a plugin's metric
    ],
)
def test_kinds_of_checks_that_were_part_of_their_names(name: str, former: str, kind: str, title: str) -> None:
    report = Report("a", "b", "c")
    report.link(4).checks = [Check(name, "share", 1.0, 0.8, True, kind=former)]  # type: ignore[arg-type]
    (check,) = Report.from_json(report.to_json()).link(4).checks
    assert (check.kind, check.title) == (kind, title)
    assert Report.from_json(report.to_json()).link(4).checks == [check]


def test_a_later_report_is_refused() -> None:
    with pytest.raises(ModelError, match="version 4; this version of adaptrt reads up to 3") as caught:
        Report.from_json(Report("a", "b", "c", version=4).to_json())
    assert "pip install -U" in (caught.value.hint or "")


def test_a_report_of_version_2_had_an_engine_beside_its_files() -> None:
    raw = json.loads(Report("tiny", "net", "convert").to_json())
    files = {kind: {"path": f"best.{kind}", "bytes": 1, "sha256": "0"} for kind in ("engine", "manifest")}
    engine = {
        "tensorrt": "8.6.1", "gpu": "NVIDIA H200", "capability": "9.0", "precision": "fp16", "layers": {"fp16": 60},
        "evidence": "60 of 60 layers compute in fp16", "messages": ["a note"], "device_memory": 7,
    }  # fmt: skip
    raw["links"][4] |= {"status": "passed", "reason": "batches 2"}
    before = [{"name": "engine", "backend": "tensorrt", "precision": "fp16", "status": "passed", "reason": "batches 2"}]
    for artifacts in (before, []):  # the oldest of them had no list of artifacts
        report = Report.from_json(
            json.dumps({**raw, "version": 2, "files": files, "engine": engine, "artifacts": artifacts})
        )
        (built,) = report.artifacts
        assert (built.name, built.precision, built.status, built.reason) == ("engine", "fp16", "passed", "batches 2")
        assert built.facts == {"TensorRT": "8.6.1", "GPU": "NVIDIA H200"}
        assert (built.layers, built.messages, built.record) == ({"fp16": 60}, ["a note"], engine)
        assert list(report.files) == ["engine", "engine.json"]


def test_the_old_name_of_the_engine_is_a_clear_error() -> None:
    with pytest.raises(PluginError, match=r"report\.engine was moved to report\.artifacts"):
        getattr(Report("tiny", "net", "convert"), "engine")  # noqa: B009
    assert not hasattr(Report("tiny", "net", "convert"), "other")
