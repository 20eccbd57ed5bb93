"""Every command and every Python block of the README and of docs/ runs.

A page is run from top to bottom in a folder of its own that holds the trained fixtures, ``best.pt`` (YOLOv5) and
``detr.pth``, and ``pictures/`` with their annotations, ``instances.json``:

- a ``console`` block: each line after ``$`` is a command (the others are its output, not compared), exit status 0
- a ``python`` block: a program of its own
- ``<!-- file: NAME -->`` before a block of any language: the block is that file
- ``<!-- exit: N -->`` before a ``console`` block: its last command ends with N
- ``<!-- not run: REASON -->`` before a block: left out, and listed as a skipped test

A page of docs/examples runs in a copy of its own folder. ``pip install`` is real, without dependencies and without a
network: it installs into the page's folder, ``.installed``, and nothing is left in this environment.

The READMEs of the adapters and extensions take part with their ``console`` and ``python`` blocks, if they have any. Pages of
docs/reference are compared with the code instead (``make check``).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("ultralytics", reason="the documentation converts YOLOv5 checkpoints")
for backend in ("hatchling", "setuptools"):
    pytest.importorskip(backend, reason="packages of the documentation are built with it, and nothing is downloaded")

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests" / "fixtures"
EXAMPLES = ROOT / "docs" / "examples"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(page for page in (ROOT / "docs").rglob("*.md") if page.parent.name != "reference"),
    *sorted((ROOT / "adapters").glob("*/README.md")),
    *sorted((ROOT / "extensions").glob("*/README.md")),
]
FENCE = re.compile(
    r"^(?:<!-- (?P<note>file|exit|not run): (?P<value>.+?) -->\n+)?```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
SECONDS = 240


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the comment in front of it."""

    page: Path
    line: int
    language: str
    text: str
    note: str
    value: str

    @property
    def runs(self) -> bool:
        return self.note == "file" or (self.language in ("console", "python") and self.note != "not run")

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(page, line, found["language"], found["text"], found["note"] or "", found["value"] or "")


def commands_of(text: str) -> list[str]:
    """The lines after ``$``, with those that a backslash continues."""
    joined = text.replace("\\\n", "")
    return [line[2:] for line in joined.splitlines() if line.startswith("$ ")]


ALL = [block for page in PAGES for block in blocks_of(page)]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    command = [sys.executable, str(FIXTURES / "draw_shapes.py"), str(folder), "--count", "3", "--seed", "7"]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "images"


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=str(page.relative_to(ROOT)))
        for page in PAGES
        if any(block.page == page and block.runs for block in ALL)
    ],
)
def test_page_runs(page: Path, pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "page"
    if EXAMPLES in page.parents:
        shutil.copytree(page.parent, folder, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
    shutil.copytree(pictures, folder / "pictures")
    shutil.copy(FIXTURES / "yolov5n_shapes.pt", folder / "best.pt")
    shutil.copy(FIXTURES / "detr_shapes.pth", folder / "detr.pth")
    shutil.copy(pictures.parent / "instances.json", folder)
    for block in blocks_of(page):
        if block.note == "file":
            path = folder / block.value
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif block.runs and block.language == "python":
            run([sys.executable, "-c", block.text], 0, block, folder)
        elif block.runs:
            commands = commands_of(block.text)
            assert commands, f"{block.place}: a console block without a command"
            for command in commands:
                wanted = int(block.value) if block.note == "exit" and command is commands[-1] else 0
                run(["bash", "-c", command], wanted, block, folder)


@pytest.mark.parametrize("block", [pytest.param(block, id=block.place) for block in ALL if block.note == "not run"])
def test_exempt_block(block: Block) -> None:
    pytest.skip(f"{block.place} is not run: {block.value}")


def test_every_console_block_says_its_commands() -> None:
    """A fence without a language, or a shell fence, would never be run."""
    for page in (page for page in PAGES if "adapters" not in page.parts):
        languages = re.findall(r"^```(\w*)$", page.read_text(encoding="utf-8"), re.MULTILINE)[::2]
        wrong = set(languages) - {"console", "python", "text", "toml", "mermaid"}
        assert not wrong, f"{page.relative_to(ROOT)}: write ```console, ```python, ```text or ```toml, not {wrong}"


def run(command: list[str], wanted: int, block: Block, folder: Path) -> None:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(folder / ".installed"), str(folder)]),
        "PIP_TARGET": str(folder / ".installed"),
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # sic: 0 takes the build backend that is here
        "PIP_NO_INDEX": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "XDG_CONFIG_HOME": str(folder / ".config"),
        "YOLO_CONFIG_DIR": str(folder / ".config"),
        "YOLO_AUTOINSTALL": "False",
        "YOLO_OFFLINE": "True",
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "100",
    }
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == wanted, f"{block.place}: {command[-1]}\nexit {done.returncode}\n{done.stdout[-3000:]}"
