"""Files that earlier versions wrote are read; those of later versions are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from adaptrt import ModelError, ModelSpec, Report
from adaptrt.backends.tensorrt.manifest import FORMAT, Manifest

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
    assert report.version == Report.version == 2
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


def test_a_later_report_is_refused() -> None:
    with pytest.raises(ModelError, match="version 3; this adaptrt reads up to 2") as caught:
        Report.from_json(Report("a", "b", "c", version=3).to_json())
    assert "pip install -U" in (caught.value.hint or "")
