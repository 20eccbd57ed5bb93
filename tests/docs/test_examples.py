"""The examples of docs/examples, installed, converted and tested by the commands of their own pages.

A file of its own, so that it runs beside the other pages.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from doc_pages import ROOT, run_page
from installed import require_distributions

for needed in ("torchvision", "onnxruntime"):
    pytest.importorskip(needed, reason="examples convert models of torchvision")
require_distributions("hatchling", "pip", reason="examples are built with them, and nothing is downloaded")

PAGES = sorted((ROOT / "docs" / "examples").glob("*/README.md"))


@pytest.mark.full
@pytest.mark.parametrize("page", [pytest.param(page, id=page.parent.name) for page in PAGES])
def test_example_runs(page: Path, tmp_path: Path) -> None:
    folder = tmp_path / "example"
    shutil.copytree(page.parent, folder, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
    run_page(page, folder)


def test_there_are_examples() -> None:
    assert PAGES
