"""Calibration rows of an ``.npz`` file, read one at a time: the file may be larger than the memory."""

from __future__ import annotations

import math
import os
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from adaptrt.errors import UsageError, did_you_mean, disk_error
from adaptrt.store.hashing import identity_of
from adaptrt.store.source_files import changed_message

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.specs import ModelSpec

Rows = Callable[[int], "NDArray[Any]"]
"""A row by its number in the file, with an axis of size 1 before its own."""

_BLOCK = 1 << 20
_LOCAL_HEADER = struct.Struct("<26x2H")  # of a zip member: 26 other bytes, the lengths of its name and of extra fields
_UNREADABLE = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError)
"""``zipfile`` raises ``RuntimeError`` for an encrypted member, ``NotImplementedError`` for an unknown compression."""


@dataclass(frozen=True)
class StoredArray:
    """An array of an ``.npz`` file by its header. ``start``: bytes before its values within the member."""

    path: Path
    member: zipfile.ZipInfo
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    start: int

    @property
    def compressed(self) -> bool:
        return self.member.compress_type != zipfile.ZIP_STORED


def read_headers(path: Path) -> dict[str, StoredArray]:
    """The arrays of a file by name; none of their values are read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {info.filename.removesuffix(".npy"): _header(path, archive, info) for info in archive.infolist()}
    except _UNREADABLE as error:
        raise _not_arrays(path, error) from error


def _header(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> StoredArray:
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{info.filename} has version {version} of the .npy format")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
        start = file.tell()
    if dtype.hasobject:
        raise ValueError(f"{info.filename} contains Python objects")
    size = dtype.itemsize * math.prod(shape)
    if start + size != info.file_size:
        raise ValueError(f"{info.filename} holds {info.file_size - start} bytes of values instead of {size}")
    return StoredArray(path, info, dtype, shape, fortran, start)


def inputs_of(path: Path, spec: ModelSpec) -> dict[str, StoredArray]:
    """The array of each input, checked against the spec."""
    wanted = [tensor.name for tensor in spec.inputs]
    found = read_headers(path)
    if len(wanted) == 1 and len(found) == 1 and wanted[0] not in found:
        found = {wanted[0]: next(iter(found.values()))}
    missing = [name for name in wanted if name not in found]
    if missing:
        raise UsageError(f"{path} has no array for input {missing[0]!r}.", hint=did_you_mean(missing[0], list(found)))
    shape = found[wanted[0]].shape
    rows = shape[0] if shape else 0
    for tensor in spec.inputs:
        array = found[tensor.name]
        fits = len(array.shape) == len(tensor.dims) and all(
            size in dim for size, dim in zip(array.shape[1:], tensor.dims[1:], strict=True)
        )
        if not fits or str(array.dtype) != tensor.dtype or not rows or array.shape[0] != rows:
            sizes = "x".join(["N", *(str(dim) for dim in tensor.dims[1:])])
            raise UsageError(
                f"Array {tensor.name!r} of {path} is {array.dtype} {array.shape}, but the model expects {tensor.dtype} {sizes}.",
                hint="Each row is a preprocessed sample; all inputs must have the same number of rows.",
            )
    return {name: found[name] for name in wanted}


def open_rows(array: StoredArray, used: Sequence[int]) -> Rows:
    """Reads the ``used`` rows on demand. The whole member is read once before, in blocks, so that its checksum is compared.

    Rows of a member that is stored as it is are read where they are. Those of a compressed one, and a member in Fortran order, are
    copied to a temporary file first, which is mapped. The file itself is not: SIGBUS would end the process if it became shorter.
    """
    if array.compressed and array.fortran:
        raise UsageError(
            f"{array.path} holds {array.member.filename} compressed and in Fortran order, so its rows cannot be read one at a time.",
            hint="Write it with numpy.savez, or in C order: numpy.savez_compressed(path, images=numpy.ascontiguousarray(array)).",
        )
    try:
        if array.compressed:
            return _copied(array, sorted(set(used)))
        return _columns(array) if array.fortran else _read_in_place(array)
    except _UNREADABLE as error:
        if disk_error(error) is not None:
            raise
        raise _not_arrays(array.path, error) from error


def _read_in_place(array: StoredArray) -> Rows:
    with zipfile.ZipFile(array.path) as archive, archive.open(array.member) as member:
        _check(member)
    with array.path.open("rb") as file:
        identity = identity_of(os.fstat(file.fileno()))
        file.seek(array.member.header_offset)
        header = file.read(_LOCAL_HEADER.size)
    name, extra = _LOCAL_HEADER.unpack(header)
    begin = array.member.header_offset + _LOCAL_HEADER.size + name + extra + array.start
    size = array.dtype.itemsize * math.prod(array.shape[1:])

    def read(row: int) -> NDArray[Any]:
        with array.path.open("rb") as file:
            file.seek(begin + row * size)
            values = file.read(size)
            if identity_of(os.fstat(file.fileno())) != identity or len(values) < size:
                hint = "Start again once the file no longer changes."
                raise UsageError(f"{changed_message([array.path])}.", hint=hint)
        return np.frombuffer(values, array.dtype).reshape(1, *array.shape[1:])

    return read


def _columns(array: StoredArray) -> Rows:
    with tempfile.TemporaryFile() as copy:
        with zipfile.ZipFile(array.path) as archive, archive.open(array.member) as member:
            _skip(member, array.start)
            shutil.copyfileobj(member, copy, _BLOCK)
        copy.flush()
        values = np.memmap(copy, array.dtype, "r", shape=array.shape, order="F")
    return lambda row: np.array(values[row : row + 1])


def _copied(array: StoredArray, used: Sequence[int]) -> Rows:
    size = array.dtype.itemsize * math.prod(array.shape[1:])
    place = {row: index for index, row in enumerate(used)}
    with tempfile.TemporaryFile() as copy:
        with zipfile.ZipFile(array.path) as archive, archive.open(array.member) as member:
            _skip(member, array.start)
            at = 0
            for row in used:
                _skip(member, size * (row - at))
                for block in _blocks(member, size):
                    copy.write(block)
                at = row + 1
            _check(member)
        copy.flush()
        values = np.memmap(copy, array.dtype, "r", shape=(len(used), *array.shape[1:]))
    return lambda row: np.array(values[place[row] : place[row] + 1])


def _check(member: IO[bytes]) -> None:
    """Read to the end, where the checksum is compared."""
    while member.read(_BLOCK):
        pass


def _blocks(member: IO[bytes], size: int) -> Iterator[bytes]:
    while size:
        block = member.read(min(size, _BLOCK))
        if not block:
            raise EOFError("it ends early")
        size -= len(block)
        yield block


def _skip(member: IO[bytes], size: int) -> None:
    for _ in _blocks(member, size):
        pass


def _not_arrays(path: Path, error: Exception) -> UsageError:
    return UsageError(
        f"{path} is not an .npz file of arrays: {error}.", hint="numpy.savez(path, images=array) writes one."
    )
