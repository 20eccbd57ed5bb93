"""Lines of code that an ONNX file names."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import onnx_ir as ir
import pytest

from adaptrt.graph.lint.source_locations import at, source_location_of


def test_only_python_files_are_read(tmp_path: Path) -> None:
    """A trace in a file may name anything: secrets are not quoted in a report, and a pipe would never end."""
    (tmp_path / "net.py").write_text("a = 1\nb = 2\n")
    (tmp_path / "id_rsa").write_text("secret\n")
    os.mkfifo(tmp_path / "pipe.py")
    assert at(str(tmp_path / "net.py"), 2).code == "b = 2"
    assert at(str(tmp_path / "id_rsa"), 1).code == ""
    assert at(str(tmp_path / "pipe.py"), 1).code == ""


@pytest.mark.parametrize("path", ["/dev/zero", "/etc/passwd"])
def test_devices_and_system_files(path: str) -> None:
    assert at(path, 1).code == ""


def test_lines_of_torch_are_not_the_models_wherever_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packages outside of site-packages (``pip install --target``, builds from source): every line was one of torch."""
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(__path__=[str(tmp_path / "lib" / "torch")]))
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(tmp_path / "lib"), *sys.path])
    for name in ("torch/nn/modules/conv.py", "detector/nn/layers.py"):
        (tmp_path / "lib" / name).parent.mkdir(parents=True)
        (tmp_path / "lib" / name).write_text(f"called = {name!r}\n")
    trace = f"{tmp_path}/lib/torch/nn/modules/conv.py(1): forward\n{tmp_path}/lib/detector/nn/layers.py(1): forward\n"
    location = source_location_of(ir.node("Conv", [], doc_string=trace))
    assert location is not None
    assert (location.file, location.line) == ("detector/nn/layers.py", 1)
    assert location.code == "called = 'detector/nn/layers.py'"
