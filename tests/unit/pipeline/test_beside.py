"""The report beside a file, and whether it is of that file."""

from __future__ import annotations

from pathlib import Path

import pytest

from adaptrt.errors import ModelError
from adaptrt.pipeline.beside import mismatch, report_of
from adaptrt.report import FileRecord, Report
from adaptrt.store.hashing import file_sha256


def test_a_file_that_its_report_does_not_describe(tmp_path: Path) -> None:
    """A run that was killed between two renames leaves a new file beside the old report."""
    path = tmp_path / "best.onnx"
    path.write_bytes(b"old")
    report = Report("tiny", "best.pt", "adaptrt convert best.pt")
    report.files["onnx"] = FileRecord(str(path), 3, file_sha256(path))
    (tmp_path / "best.report.json").write_text(report.to_json())
    assert report_of(path) == report
    path.write_bytes(b"new")
    with pytest.raises(ModelError, match="describes a different best.onnx") as caught:
        report_of(path)
    assert caught.value.hint


def test_a_manifest_that_the_report_does_not_describe(tmp_path: Path) -> None:
    """It decides what outputs mean: labels, decoder, normalization."""
    path, manifest = tmp_path / "best.engine", tmp_path / "best.engine.json"
    report = Report("tiny", "best.pt", "adaptrt convert best.pt")
    for kind, file in (("engine", path), ("engine.json", manifest)):
        file.write_bytes(b"old")
        report.files[kind] = FileRecord(str(file), 3, file_sha256(file))
    (tmp_path / "best.report.json").write_text(report.to_json())
    assert report_of(path) == report
    assert mismatch(path) == ""
    manifest.write_bytes(b"new")
    assert mismatch(path).startswith("best.report.json describes a different best.engine.json")
    with pytest.raises(ModelError, match="describes a different best.engine.json"):
        report_of(path)
    manifest.unlink()
    assert report_of(path) == report


def test_a_report_under_the_name_of_another_file(tmp_path: Path) -> None:
    path = tmp_path / "renamed.onnx"
    path.write_bytes(b"old")
    report = Report("tiny", "best.pt", "adaptrt convert best.pt")
    report.files["onnx"] = FileRecord("best.onnx", 3, file_sha256(path))
    (tmp_path / "renamed.report.json").write_text(report.to_json())
    assert report_of(path) == report  # both were renamed
    path.write_bytes(b"new")
    assert mismatch(path)
    report.files["rtx.engine"] = FileRecord("best.rtx.engine", 3, "0" * 64)
    (tmp_path / "renamed.report.json").write_text(report.to_json())
    built = tmp_path / "renamed.engine"  # by another tool, from the ONNX file
    built.write_bytes(b"engine")
    assert report_of(built) == report
