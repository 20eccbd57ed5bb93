"""Lines of code that an ONNX file names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from adaptrt.graph.lint.source_locations import at


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
