"""The report beside a file, and whether it is of that file."""

from __future__ import annotations

from pathlib import Path

import pytest

from adaptrt.errors import ModelError
from adaptrt.pipeline.beside import report_of
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
