"""Checkpoints before torch 1.6, and ``_use_new_zipfile_serialization=False``: pickles one after another, then bytes.

Magic number, protocol, system, the object, the keys of its storages; then for each key its length (int64) and bytes.
"""

from __future__ import annotations

import struct
from io import BufferedReader, FileIO
from typing import TYPE_CHECKING, Any, cast

from adaptrt.checkpoint.known import KNOWN, SETTERS
from adaptrt.checkpoint.legacy_header import BUFFER, MAGIC, PROTOCOL
from adaptrt.checkpoint.machine import Machine, PickleError
from adaptrt.checkpoint.memory import TensorMemory
from adaptrt.checkpoint.opcodes import next_object
from adaptrt.checkpoint.tensors import Storage, StorageType
from adaptrt.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def read(path: Path, inert: Sequence[str], machines: list[Machine]) -> Any:
    with BufferedReader(FileIO(path), BUFFER) as file:
        return _read(path, file, inert, machines)


def _read(path: Path, file: BufferedReader[FileIO], inert: Sequence[str], machines: list[Machine]) -> Any:
    size = path.stat().st_size
    storages = Storages(size, TensorMemory(path))
    machine = Machine(file, size, KNOWN, inert=inert, setters=SETTERS, persistent=storages.load)
    machines.append(machine)
    if next_object(machine) != MAGIC:
        if machine.refused:
            return None
        raise CheckpointError(
            f"{path} is a pickle, but not one that torch.save wrote.",
            hint="Load it with the tool that wrote it and save its state dict with torch.save.",
        )
    if next_object(machine) != PROTOCOL:
        raise PickleError("it uses an unknown torch protocol")
    system = next_object(machine)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise PickleError("it was written on a big-endian machine")
    result = next_object(machine)
    if not machine.refused:
        storages.fill(next_object(machine), machine, file)
    return result


class Storages:
    """Storages are named before their bytes: memory is allocated first and filled at the end, never more than the file's size."""

    def __init__(self, budget: int, memory: TensorMemory) -> None:
        self.budget = budget
        self.memory = memory
        self.roots: dict[str, Storage] = {}

    def load(self, identity: Any) -> Any:
        """The storage for ``("storage", type, key, location, count, view)``; view: None or (key, offset, count)."""
        if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
            if isinstance(identity, tuple) and len(identity) == 4 and identity[0] == "module":
                return identity[1]  # a class with its source text, which is ignored
            raise PickleError("a storage has an unknown kind of identifier")
        _, kind, key, _location, count, view = (*identity, None)[:6]
        if (
            not isinstance(kind, StorageType)
            or not isinstance(key, (str, int))
            or not isinstance(count, int)
            or count < 0
        ):
            raise PickleError("a storage has an unknown kind of identifier")
        root = self.roots.get(str(key)) or self._allocate(str(key), kind, count)
        if view is None:
            return root
        _, offset, length = view
        if not all(type(number) is int and number >= 0 for number in (offset, length)) or offset + length > count:
            raise PickleError("a storage view exceeds its storage")
        return Storage(root.data[offset * kind.itemsize : (offset + length) * kind.itemsize], kind.dtype)

    def _allocate(self, key: str, kind: StorageType, count: int) -> Storage:
        size = count * kind.itemsize
        if size > self.budget:
            raise PickleError("its tensors are declared larger than the file")
        self.budget -= size
        self.roots[key] = Storage(self.memory.allocate(size), kind.dtype)
        return self.roots[key]

    def fill(self, keys: Any, machine: Machine, file: BufferedReader[FileIO]) -> None:
        if not isinstance(keys, list) or {str(key) for key in keys} != set(self.roots):
            raise PickleError("the listed storages differ from those in use")
        for key in keys:
            storage = self.roots[str(key)]
            count = machine.unpack(struct.Struct("<q"))
            if count * storage.dtype.itemsize != len(storage.data):
                raise PickleError(f"storage {key} has the wrong length")
            if file.readinto(cast("Any", storage.data.numpy())) != len(storage.data):
                raise PickleError("the file is truncated")
