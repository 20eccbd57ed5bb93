"""``adaptrt new-adapter``: what it writes works at once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

import adaptrt as package

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
        ("1net", "is not a valid adapter name", "a letter first: my-1net"),
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


KINDS = [
    pytest.param("adapter", ("--task", "classify"), id="classify", marks=pytest.mark.full),
    pytest.param("adapter", ("--task", "detect"), id="detect", marks=pytest.mark.full),
    pytest.param("adapter", ("--task", "segment"), id="segment", marks=pytest.mark.full),
    pytest.param("extension", (), id="extension", marks=pytest.mark.full),
    pytest.param("backend", (), id="backend", marks=pytest.mark.full),
]
TARGETS = {"adapter": "adaptrt_mynet", "extension": "adaptrt_mynet", "backend": "adaptrt_mynet.backend:BACKEND"}


@pytest.mark.parametrize("kind", TARGETS)
def test_each_kind_is_declared(adaptrt: Callable[..., Any], tmp_path: Path, kind: str) -> None:
    done = adaptrt(f"new-{kind}", "mynet", "--json")
    assert done.code == 0, done.err
    project = tomllib.loads((tmp_path / "adaptrt-mynet" / "pyproject.toml").read_text())["project"]
    assert project["entry-points"] == {f"adaptrt.{kind}s": {"mynet": TARGETS[kind]}}
    assert Requirement(project["dependencies"][0]).specifier.contains(package.__version__)
    for path in (tmp_path / "adaptrt-mynet").rglob("*.py"):
        compile(path.read_text(), path.name, "exec")
    assert adaptrt(f"new-{kind}", "../mynet").code == 2


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_its_own_tests_pass(adaptrt: Callable[..., Any], tmp_path: Path, kind: str, options: tuple[str, ...]) -> None:
    pytest.importorskip("torch", reason="a conversion needs torch")
    pytest.importorskip("onnxruntime", reason="a conversion is proved with ONNX Runtime")
    assert adaptrt(f"new-{kind}", "mynet", *options, "-o", "here", "-q").out == ""
    folder = tmp_path / "here"
    info = folder / "adaptrt_mynet-0.1.0.dist-info"  # what pip install -e leaves for discovery to find
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: adaptrt-mynet\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(f"[adaptrt.{kind}s]\nmynet = {TARGETS[kind]}\n")
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--contract-badge",
        "contract.svg",
        "tests",
    ]
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "failed" not in done.stdout
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert f"{passed[1]} of {passed[1]} passed" in (folder / "contract.svg").read_text()
