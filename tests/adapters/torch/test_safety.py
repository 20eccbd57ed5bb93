"""Files that reach the adapter ``torch`` run nothing until the command line says so."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import adaptrt
from adaptrt import CheckpointError, UsageError
from adaptrt.evaluation import evaluate

NETWORK = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv(x).mean((2, 3))
"""
PLANTED = "from pathlib import Path\nPath('pwned').touch()\n"


class Bomb:
    """A pickle that leaves a file behind when it is run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("pwned"),)


@pytest.fixture
def converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NETWORK)
    adaptrt.convert(
        "net.py:Net",
        adapter="torch",
        shape="images=2x3x8x8",
        verify="none",
        html=False,
        output="net.onnx",
        options={"decoder": "classify"},
    )
    from adaptrt.vision.images import write_image

    Path("val", "0").mkdir(parents=True)
    write_image(Path("val", "0", "one.png"), np.full((8, 8, 3), 80, np.uint8))
    return "net.onnx"


@pytest.mark.parametrize("source", ["planted.py:Net", "planted:Net", "os:system"])
def test_a_report_that_names_code(source: str, converted: str) -> None:
    Path("planted.py").write_text(PLANTED + NETWORK)
    path = Path("net.report.json")
    changed = {**json.loads(path.read_text()), "source": source, "options": {"args": ["touch pwned"]}}
    path.write_text(json.dumps(changed))
    with pytest.raises(UsageError, match="they are never taken from the report"):
        evaluate([converted], "val", backends=["eager"])
    assert not Path("pwned").exists()
    assert "planted" not in sys.modules


def _torchscript(path: Path) -> None:
    torch.jit.script(torch.nn.Conv2d(3, 4, 3)).save(str(path))


def _exported(path: Path) -> None:
    torch.export.save(torch.export.export(torch.nn.Conv2d(3, 4, 3), (torch.zeros(1, 3, 8, 8),)), path)


def _mined(path: Path) -> None:
    """A program whose every pickle is replaced by the bomb."""
    _exported(path)
    torch.save(Bomb(), "bomb.pt")
    bomb = Path("bomb.pt").read_bytes()
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, bomb if name.endswith((".pt", "weights_config.json")) else content)


@pytest.mark.parametrize("write", [_torchscript, _exported, _mined])
def test_a_program_is_not_loaded_without_trust(
    write: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("model.pt2")
    write(path)
    for loader in ("torch.jit.load", "torch.export.load", "torch.load"):
        monkeypatch.setattr(loader, lambda *_, **__: pytest.fail("a program was loaded"))
    with pytest.raises(CheckpointError, match="is a program: loading it"):
        adaptrt.convert(path, adapter="torch", verify="none", shape="x=1x3x8x8", html=False)
    assert not Path("pwned").exists()


def test_safetensors_metadata_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.torch import save_file

    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NETWORK)
    Path("planted.py").write_text(PLANTED)
    metadata = {"format": "planted:Net", "__metadata__": "planted.py", "source": "planted:Net", "arch": "planted"}
    save_file({"conv.weight": torch.zeros(4, 3, 3, 3), "conv.bias": torch.zeros(4)}, "w.safetensors", metadata)
    given: dict[str, Any] = {"adapter": "torch", "shape": "x=2x3x8x8", "verify": "none", "html": False}
    adaptrt.convert("net.py:Net", weights="w.safetensors", **given)
    assert not Path("pwned").exists()


@pytest.mark.parametrize("source", ["planted:1", "planted:Net ", "planted::Net", "planted:a-b", "planted:/x"])
def test_what_names_no_object_imports_nothing(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("planted.py").write_text(PLANTED)
    Path("planted:.py").write_text(PLANTED)
    with pytest.raises(UsageError, match="must have the form module:attribute"):
        adaptrt.convert(source, adapter="torch", shape="x=1x3x8x8", html=False)
    assert not Path("pwned").exists()
