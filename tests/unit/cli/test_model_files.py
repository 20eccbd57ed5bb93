"""Every command that takes a model file says the same of one that is missing, a folder, or something else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from adaptrt.specs.backends import model_suffixes

COMMANDS = {
    "inspect": ("inspect", "{}"),
    "lint": ("lint", "{}"),
    "build": ("build", "{}"),
    "build --fp16": ("build", "{}", "--fp16", "--target", "10"),
    "quantize": ("quantize", "{}"),
    "tune": ("tune", "{}"),
    "clean": ("clean", "{}", "-o", "clean.onnx"),
    "adopt": ("adopt", "{}", "-o", "adopted.onnx"),
    "doctor": ("doctor", "{}"),
    "predict": ("predict", "{}", "street.png", "-o", "found"),
    "predict none": ("predict", "{}", "nowhere.png", "--executor", "none", "-o", "found"),
    "batch": ("batch", "{}", "nowhere/", "-o", "job"),
    "serve": ("serve", "{}", "--port", "0"),
    "evaluate": ("evaluate", "{}", "--data", "val"),
    "evaluate nowhere": ("evaluate", "{}", "--data", "nowhere", "--score-thr", "0.1", "--conf", "0.2"),
    "bench": ("bench", "{}"),
    "run": ("run", "{}"),
    "compare": ("compare", "{}", "{}"),
    "package": ("package", "deepstream", "{}", "-o", "nowhere/folder"),
    "unwrap": ("engine", "unwrap", "{}"),
    "wrap": ("engine", "wrap", "{}"),
}
GRAPHS = ("lint", "build", "build --fp16", "quantize", "tune", "clean", "adopt", "doctor")


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from adaptrt.vision.images import write_image

    monkeypatch.chdir(tmp_path)
    np = pytest.importorskip("numpy")
    write_image(Path("street.png"), np.zeros((8, 8, 3), np.uint8))
    Path("street.engine").write_bytes(b"nothing")
    Path("val", "a").mkdir(parents=True)


def call(adaptrt: Any, command: str, file: str) -> Any:
    before = sorted(map(str, Path().rglob("*")))
    result = adaptrt(*(word.format(file) for word in COMMANDS[command]))
    assert sorted(map(str, Path().rglob("*"))) == before
    assert result.out == ""
    return result


@pytest.mark.parametrize("command", COMMANDS)
def test_a_missing_file(adaptrt: Any, command: str) -> None:
    result = call(adaptrt, command, "stret.engine")
    assert result.code == 4
    assert result.err == "Error: File not found: stret.engine.\nDid you mean 'street.engine'?\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder(adaptrt: Any, command: str) -> None:
    result = call(adaptrt, command, "val")
    assert result.code == 4
    assert result.err == f"Error: val is a folder.\nSpecify a file with the suffix {', '.join(model_suffixes())}.\n"
    assert {".onnx", ".engine", ".plan", ".trt"} <= set(model_suffixes())


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_that_may_not_be_read(adaptrt: Any, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: Path(path).name != "street.engine")
    result = call(adaptrt, command, "street.engine")
    assert result.code == 4
    assert result.err == "Error: street.engine cannot be read: permission denied.\nCheck its permissions.\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_checkpoint(adaptrt: Any, command: str) -> None:
    """Said before anything about options, images and what is installed."""
    Path("best.pt").write_bytes(b"PK\x03\x04 a zip")
    result = call(adaptrt, command, "best.pt")
    assert result.err.startswith("Error: best.pt ")
    assert result.err.endswith("\nConvert a checkpoint first: adaptrt convert best.pt\n")


def test_the_command_to_paste_has_the_path(adaptrt: Any) -> None:
    Path("my model").mkdir()
    Path("my model", "best.pt").write_bytes(b"PK\x03\x04 a zip")
    assert "adaptrt convert 'my model/best.pt'\n" in call(adaptrt, "build", "my model/best.pt").err


@pytest.mark.parametrize("command", COMMANDS)
def test_an_image(adaptrt: Any, command: str) -> None:
    assert "It is an image: the converted model comes first" in call(adaptrt, command, "street.png").err


@pytest.mark.parametrize("command", GRAPHS)
def test_an_engine_is_no_graph(adaptrt: Any, command: str) -> None:
    Path("my model").mkdir()
    Path("my model", "street.engine").write_bytes(Path("street.engine").read_bytes())
    result = call(adaptrt, command, "my model/street.engine")
    assert result.code == 7
    assert "adaptrt inspect 'my model/street.engine'\n" in result.err


def test_an_empty_engine(adaptrt: Any) -> None:
    Path("empty.engine").touch()
    result = call(adaptrt, "inspect", "empty.engine")
    assert result.code == 8
    assert "empty.engine is empty." in result.err


@pytest.mark.parametrize(
    ("command", "package", "extra"),
    [
        ("predict", "onnxruntime", "adaptrt[onnx]"),
        ("evaluate", "onnxruntime", "adaptrt[onnx]"),
        ("lint", "onnx_ir", "adaptrt[export]"),
        ("inspect", "onnx", "pip install onnx"),
    ],
)
def test_what_is_missing_for_an_onnx_file(
    command: str, package: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("best.onnx").write_bytes(b"any")
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "sitecustomize.py").write_text(f"import sys\nsys.modules[{package!r}] = None\n")
    path = os.pathsep.join(filter(None, [str(tmp_path / "without"), os.environ.get("PYTHONPATH")]))
    words = [word.format("best.onnx") for word in COMMANDS[command]]
    done = subprocess.run(
        [sys.executable, "-m", "adaptrt", *words],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    assert package.replace("onnxruntime", "ONNX Runtime") in done.stderr
    assert extra in done.stderr
