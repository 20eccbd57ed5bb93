"""Fixtures of several folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from copying_backend import Copying


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The network of tests/support/small_convnet.py, alone in the current folder."""
    from small_convnet import write_convnet

    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return write_convnet(Path("net.onnx"))


@pytest.fixture
def copying(fake_distribution: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Copying:
    """The backend of tests/support/copying_backend.py, as new."""
    from copying_backend import BACKEND, Copying

    fake_distribution("adaptrt-copying", {"adaptrt.backends": {"copying": "copying_backend:BACKEND"}})
    for name, value in vars(Copying()).items():
        monkeypatch.setattr(BACKEND, name, value)
    return BACKEND
