"""Pages of the documentation, run from top to bottom; how blocks are read stands in tests/docs/test_commands.py."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from patience import HANG

ROOT = Path(__file__).parents[2]
FENCE = re.compile(
    r"^(?:<!-- (?P<note>file|exit|not run): (?P<value>.+?) -->\n+)?```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


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


def run_page(page: Path, folder: Path) -> None:
    """Every block of a page in this folder; the first that fails is named with its line."""
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
        timeout=HANG,
    )
    assert done.returncode == wanted, f"{block.place}: {command[-1]}\nexit {done.returncode}\n{done.stdout[-3000:]}"
