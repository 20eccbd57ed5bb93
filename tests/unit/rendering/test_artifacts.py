"""The part of the page about a file that a backend built: with what, and what shows its precision."""

from __future__ import annotations

import pytest

from adaptrt.rendering.html import render_html
from adaptrt.rendering.terminal import print_summary, stdout_console
from adaptrt.report import ArtifactRecord, Report


def test_what_a_backend_reports_is_shown(report: Report, capsys: pytest.CaptureFixture[str]) -> None:
    report.artifacts = [
        ArtifactRecord(
            "engine", "tensorrt", "fp16", summary="60 of 63 layers compute in fp16",
            facts={"GPU": "NVIDIA <H200> (compute capability 9.0)", "weights": "fp16 5.0 MB"},
            layers={"fp16": 60, "fp32": 3}, messages=["int64 weights were narrowed"],
        ),
        ArtifactRecord("copy.bin", "gone", "fp32", summary="copied"),
    ]  # fmt: skip
    text = " ".join(render_html(report).split())
    for piece in (
        "TensorRT <small>engine, fp16</small>", "NVIDIA &lt;H200&gt; (compute capability 9.0)", "fp16 5.0 MB", "60 layers",
        "60 of 63 layers compute in fp16", "3 layers", "int64 weights were narrowed",
        "gone <small>copy.bin, fp32</small>", "copied",
    ):  # fmt: skip
        assert piece in text, piece
    print_summary(stdout_console(), report)
    shown = capsys.readouterr().out
    assert "engine: 60 of 63 layers compute in fp16" in shown
    assert "copy.bin: copied" in shown


def test_without_a_built_file_there_is_no_such_part(report: Report) -> None:
    report.artifacts = [ArtifactRecord("engine", "tensorrt", "fp32")]
    assert "Precision report" not in render_html(report)
