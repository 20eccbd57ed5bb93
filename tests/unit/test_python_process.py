"""No process of ours runs a module because it lies in the current folder, beside a model that someone else made."""

from __future__ import annotations

import ast
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import resource_tracker
from pathlib import Path

import pytest

import adaptrt
from adaptrt.python_process import module_command, program_command, safe_path

ROOT = Path(__file__).parents[2]
PLANTED = ("json", "numpy", "onnx", "cv2", "multiprocessing", "runpy", "signal", "adaptrt")


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with modules that leave a file ``ran``; returns that file."""
    for name in PLANTED:
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "ran"


@pytest.mark.parametrize(
    ("command", "printed"),
    [
        ([*program_command("import json, sys\nprint(json.dumps(sys.argv[1:]))"), "a b"], '["a b"]'),
        ([*module_command("json.tool"), "--help"], "usage"),
        ([*module_command("adaptrt"), "--version"], adaptrt.__version__),
    ],
)
def test_the_current_folder_is_not_searched(command: list[str], printed: str, planted: Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert printed in done.stdout
    assert not planted.exists()


@pytest.mark.parametrize("has_variable", [pytest.param(True, marks=pytest.mark.full), False])
def test_nor_by_workers(has_variable: bool, planted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.10 has no variable for it; the process that ``multiprocessing`` starts beside the first worker is a new one here."""
    if has_variable and sys.version_info < (3, 11):
        pytest.skip("Python 3.10 has no variable for it")
    monkeypatch.setattr("adaptrt.python_process._HAS_SAFE_PATH", has_variable)
    tracker = resource_tracker.ResourceTracker()
    monkeypatch.setattr(resource_tracker, "getfd", tracker.getfd)
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder])
    process = multiprocessing.get_context("spawn").Process(target=os.getpid)
    with safe_path():
        process.start()
    process.join()
    tracker._stop()  # type: ignore[attr-defined]
    assert process.exitcode == 0
    assert not planted.exists()
    assert "PYTHONSAFEPATH" not in os.environ


def test_every_process_is_started_this_way() -> None:
    """``sys.executable`` with ``-c`` or ``-m`` occurs in one module; with ``-I``, Python searches no such folder."""
    found = []
    for folder in ("core", "adapters", "extensions"):
        for file in (ROOT / folder).rglob("*.py"):
            if file.name in ("python_process.py", "imports.py") or ".venv" in file.parts or "build" in file.parts[:-2]:
                continue
            for node in ast.walk(ast.parse(file.read_text())):
                words = node.elts if isinstance(node, (ast.List, ast.Tuple)) else []
                texts = [word.value for word in words if isinstance(word, ast.Constant)]
                python = any(ast.unparse(word) == "sys.executable" for word in words)
                if python and {"-c", "-m"} & set(texts) and "-I" not in texts:
                    found.append(f"{file.relative_to(ROOT)}:{node.lineno}")
    assert not found


def test_threads_that_start_processes_leave_the_environment_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)

    def often(_: int) -> None:
        for _ in range(500):
            with safe_path():
                assert os.environ["PYTHONSAFEPATH"] == "1"

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(often, range(4)))
    assert "PYTHONSAFEPATH" not in os.environ
