"""``adaptrt new-adapter``: what it writes works at once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_files_and_what_to_do_next(adaptrt: Callable[..., Any], tmp_path: Path) -> None:
    done = adaptrt("new-adapter", "my-net", "--json")
    assert done.code == 0
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert written == set(done.json["files"])
    assert "adaptrt-my-net/adaptrt_my_net/__init__.py" in written
    assert done.json["next"][1] == "adaptrt convert --adapter my-net demo"
    project = tomllib.loads((tmp_path / "adaptrt-my-net" / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["adaptrt.adapters"] == {"my-net": "adaptrt_my_net"}
    assert [Requirement(text).name for text in project["dependencies"]] == ["adaptrt", "torch"]


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("MyNet", "is not a valid adapter name", "mynet"),
        ("../mynet", "is not a valid adapter name", "mynet"),
        ("1net", "is not a valid adapter name", "net"),
        ("swin", "already exists in adaptrt-timm", "swin-2"),
    ],
)
def test_names_that_cannot_be(adaptrt: Callable[..., Any], tmp_path: Path, name: str, message: str, hint: str) -> None:
    done = adaptrt("new-adapter", name)
    assert done.code == 2
    assert message in done.err
    assert hint in done.err
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(adaptrt: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "mine.txt").write_text("mine")
    assert adaptrt("new-adapter", "mynet", "-o", "here").code == 2
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["mine.txt"]


@pytest.mark.full
def test_its_own_tests_pass(adaptrt: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="a conversion needs torch")
    pytest.importorskip("onnxruntime", reason="a conversion is proved with ONNX Runtime")
    assert adaptrt("new-adapter", "mynet", "-o", "here", "-q").out == ""
    folder = tmp_path / "here"
    info = folder / "adaptrt_mynet-0.1.0.dist-info"  # what pip install -e leaves for discovery to find
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: adaptrt-mynet\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[adaptrt.adapters]\nmynet = adaptrt_mynet\n")
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "failed" not in done.stdout
