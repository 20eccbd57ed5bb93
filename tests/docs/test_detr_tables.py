"""The tables about DETR are those of benchmarks/results."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_tables_are_written_from_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    tables = importlib.import_module("detr_tables")
    for name in ("detr_tables", "swin_tables", "results"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert tables.written() == tables.PAGE.read_text(encoding="utf-8"), "python benchmarks/detr_tables.py"
