"""The engine's part of the page: what it was built with, and what shows its precision."""

from __future__ import annotations

from adaptrt.rendering.html import render_html
from adaptrt.report import EngineRecord, Report


def test_the_precision_report_is_shown(report: Report) -> None:
    report.engine = EngineRecord(
        "8.6.1", "NVIDIA <H200>", "9.0", "fp16", {"fp16": 60, "fp32": 3}, {"fp16": 5_000_000}, 2, 0.25, 5_400_000, 0.53,
        "60 of 63 layers run in fp16", "a note", 31.5, 20_000_000, ["int64 weights were narrowed"],
    )  # fmt: skip
    text = " ".join(render_html(report).split())
    for piece in (
        "8.6.1", "NVIDIA &lt;H200&gt; (compute capability 9.0)", "5.4 MB, 53 % of the float32 weights", "31.5 s",
        "60 of 63 layers run in fp16", "60 layers, 5.0 MB", "3 layers", "2 parts that TensorRT does not show contain 25 %",
        "int64 weights were narrowed",
    ):  # fmt: skip
        assert piece in text, piece


def test_without_an_engine_there_is_no_such_part(report: Report) -> None:
    assert "Precision report" not in render_html(report)


def test_an_engine_of_which_little_is_known(report: Report) -> None:
    report.engine = EngineRecord("10.16", "", "", "fp32")
    assert "Built with" in render_html(report)
