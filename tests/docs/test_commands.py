"""Every command and every Python block of the README and of docs/ runs.

A page is run from top to bottom in a folder of its own that holds the trained fixtures, ``best.pt`` (YOLOv5) and
``detr.pth``, and ``images/`` with their annotations, ``instances.json``:

- a ``console`` block: each line after ``$`` is a command (the others are its output, not compared), exit status 0
- a ``python`` block: a program of its own
- ``<!-- file: NAME -->`` before a block of any language: the block is that file
- ``<!-- exit: N -->`` before a ``console`` block: its last command ends with N
- ``<!-- not run: REASON -->`` before a block: left out, and listed as a skipped test

Pages of docs/examples run in test_examples.py, in copies of their own folders. ``pip install`` is real, without
dependencies and without a network: it installs into the page's folder, ``.installed``; nothing is left in this environment.

The READMEs of the adapters and extensions take part with their ``console`` and ``python`` blocks, if they have any. Pages of
docs/reference are compared with the code instead (``make check``).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from doc_pages import ROOT, Block, blocks_of, run_page
from installed import require_distributions

pytest.importorskip("ultralytics", reason="the documentation converts YOLOv5 checkpoints")
require_distributions(
    "hatchling",
    "pip",
    "setuptools",
    reason="packages of the documentation are built with it, and nothing is downloaded",
)

FIXTURES = ROOT / "tests" / "fixtures"
EXAMPLES = ROOT / "docs" / "examples"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(page for page in (ROOT / "docs").rglob("*.md") if page.parent.name != "reference"),
    *sorted((ROOT / "adapters").glob("*/README.md")),
    *sorted((ROOT / "extensions").glob("*/README.md")),
]
ALL = [block for page in PAGES for block in blocks_of(page)]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    command = [sys.executable, str(FIXTURES / "draw_shapes.py"), str(folder), "--count", "3", "--seed", "7"]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "images"


@pytest.mark.full
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=str(page.relative_to(ROOT)))
        for page in PAGES
        if EXAMPLES not in page.parents and any(block.page == page and block.runs for block in ALL)
    ],
)
def test_page_runs(page: Path, images: Path, tmp_path: Path) -> None:
    folder = tmp_path / "page"
    shutil.copytree(images, folder / "images")
    shutil.copy(FIXTURES / "yolov5n_shapes.pt", folder / "best.pt")
    shutil.copy(FIXTURES / "detr_shapes.pth", folder / "detr.pth")
    shutil.copy(images.parent / "instances.json", folder)
    run_page(page, folder)


@pytest.mark.parametrize("block", [pytest.param(block, id=block.place) for block in ALL if block.note == "not run"])
def test_exempt_block(block: Block) -> None:
    pytest.skip(f"{block.place} is not run: {block.value}")


def test_every_console_block_says_its_commands() -> None:
    """A fence without a language, or a shell fence, would never be run."""
    for page in (page for page in PAGES if "adapters" not in page.parts):
        languages = re.findall(r"^```(\w*)$", page.read_text(encoding="utf-8"), re.MULTILINE)[::2]
        wrong = set(languages) - {"console", "python", "text", "toml", "mermaid", "yaml"}
        assert not wrong, (
            f"{page.relative_to(ROOT)}: write ```console, ```python, ```text, ```toml or ```yaml, not {wrong}"
        )
