"""Checkpoints since torch 1.6: a zip of ``data.pkl`` and one entry for each storage, stored uncompressed."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Any, cast

from adaptrt.checkpoint.kinds import cut_off, zip_kind
from adaptrt.checkpoint.known import KNOWN, SETTERS
from adaptrt.checkpoint.machine import Machine, PickleError
from adaptrt.checkpoint.memory import TensorMemory
from adaptrt.checkpoint.opcodes import next_object
from adaptrt.checkpoint.tensors import Storage, StorageType

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch

PIECE = 1 << 20  # bytes read at a time


def read(path: Path, inert: Sequence[str], machines: list[Machine]) -> Any:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError) as error:
        raise cut_off(path) from error
    with archive:
        prefix = zip_kind(path, archive.namelist())
        storages = Storages(archive, prefix, path)
        data = storages.entry("data.pkl")
        machine = Machine(io.BytesIO(data), len(data), KNOWN, inert=inert, setters=SETTERS, persistent=storages.load)
        machines.append(machine)
        return next_object(machine)


class Storages:
    """Reads each storage once. Their total size never exceeds the file's, since nothing is compressed."""

    def __init__(self, archive: zipfile.ZipFile, prefix: str, path: Path) -> None:
        self.archive = archive
        self.prefix = prefix
        self.budget = path.stat().st_size
        self.memory = TensorMemory(path)
        self.loaded: dict[str, torch.Tensor] = {}
        self.swapped = "byteorder" in self._names() and self.entry("byteorder") == b"big"

    def _names(self) -> set[str]:
        return {name.removeprefix(self.prefix) for name in self.archive.namelist()}

    def entry(self, name: str) -> bytes:
        return self.archive.read(self._stored(name))

    def _stored(self, name: str) -> zipfile.ZipInfo:
        info = self.archive.getinfo(self.prefix + name)
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise PickleError("it was compressed after torch wrote it; extract it and zip it without compression")
        if info.file_size > self.budget:
            raise PickleError("its entries are declared larger than the file")
        self.budget -= info.file_size
        return info

    def load(self, identity: Any) -> Any:
        """The storage for ``("storage", type, key, location, count)``."""
        if not isinstance(identity, tuple) or len(identity) != 5 or identity[0] != "storage":
            raise PickleError("a storage has an unknown kind of identifier")
        _, kind, key, _location, count = identity
        if not isinstance(kind, StorageType) or not isinstance(key, str) or not isinstance(count, int):
            raise PickleError("a storage has an unknown kind of identifier")
        if key not in self.loaded:
            self.loaded[key] = self._read(f"data/{key}", kind.dtype)
        data = self.loaded[key]
        if count < 0 or count * kind.itemsize > len(data):
            raise PickleError(f"storage {key} is truncated")
        return Storage(data[: count * kind.itemsize], kind.dtype)

    def _read(self, name: str, dtype: torch.dtype) -> torch.Tensor:
        info = self._stored(name)
        data = self.memory.allocate(info.file_size)
        view = memoryview(cast("Any", data.numpy()))
        with self.archive.open(info) as file:
            for start in range(0, info.file_size, PIECE):
                view[start : start + PIECE] = file.read(PIECE)  # of another length, if truncated: an error
        width = dtype.itemsize // 2 if dtype.is_complex else dtype.itemsize
        if self.swapped and width > 1:
            data = data.view(-1, width).flip(1).reshape(-1)
        return data
