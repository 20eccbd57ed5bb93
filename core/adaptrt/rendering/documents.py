"""The files that a conversion writes about itself besides report.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from adaptrt.rendering.html import write_document, write_html

if TYPE_CHECKING:
    from adaptrt.report import Report

FAILED = ".failed.report"


def page_of(report: Report, folder: Path) -> Mapping[str, Path]:
    """Write the page of a successful conversion into ``folder``; return its path by the suffix to publish it under."""
    return {".report.html": write_html(report, folder / "report.html")}


def write_failed_report(report: Report, path: Path, *, html: bool) -> Path:
    """Write the report of a failed conversion as ``path`` with ``.json`` and ``.html`` added; return the one to read."""
    written = write_document(path.with_name(f"{path.name}.json"), report.to_json())
    return write_html(report, path.with_name(f"{path.name}.html")) if html else written
