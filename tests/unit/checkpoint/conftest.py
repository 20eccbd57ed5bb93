"""Checkpoints made by hand: what torch.save would write around a pickle of one's own."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


def write_zip(path: Path, data: bytes, storages: dict[str, bytes] | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/byteorder", b"little")
        for key, raw in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", raw)
    return path


def write_legacy(path: Path, data: bytes, storages: dict[str, bytes] | None = None) -> Path:
    out = io.BytesIO()
    for head in (MAGIC, PROTOCOL, {"protocol_version": PROTOCOL, "little_endian": True, "type_sizes": {}}):
        pickle.dump(head, out, protocol=2)
    out.write(data)
    pickle.dump(list(storages or {}), out, protocol=2)
    for raw in (storages or {}).values():
        out.write(struct.pack("<q", len(raw) // 4) + raw)
    path.write_bytes(out.getvalue())
    return path


@dataclass(frozen=True)
class Writer:
    """``write(pickle, storages)`` to a file in one of torch's two formats."""

    form: str
    path: Path

    def __call__(self, data: bytes, storages: dict[str, bytes] | None = None) -> Path:
        return (write_zip if self.form == "zip" else write_legacy)(self.path, data, storages)

    @property
    def storage(self) -> bytes:
        """Opcodes that name storage "0", of four floats."""
        named = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04"
        return named + (b"tQ" if self.form == "zip" else b"NtQ")


@pytest.fixture(params=["zip", "legacy"])
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Writer:
    return Writer(request.param, tmp_path / "made.pt")


@pytest.fixture(params=["zip", "legacy"])
def save(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Path]:
    """``save(object)`` with torch.save, in each of its two formats."""
    torch = pytest.importorskip("torch", reason="checkpoints are read into torch tensors")

    def write(value: Any, protocol: int = 2) -> Path:
        path = tmp_path / "saved.pt"
        new = request.param == "zip"
        torch.save(value, path, pickle_protocol=protocol, _use_new_zipfile_serialization=new)
        return path

    return write


class Runs:
    """Pickles to a call of ``os.system`` that leaves a file behind."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"echo run > '{self.sentinel}'",)


@pytest.fixture
def sentinel(tmp_path: Path) -> Path:
    return tmp_path / "it-ran"


@pytest.fixture
def runs(sentinel: Path) -> Runs:
    return Runs(sentinel)
