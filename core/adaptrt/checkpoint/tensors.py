"""Storages, and the tensors that are views of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from adaptrt.checkpoint.machine import PickleError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_AXES = 64
EXPANDED_LIMIT = (
    1 << 26
)  # bytes that an expanded tensor (stride 0) may represent beyond its storage: a later copy allocates them

_DTYPE_NAMES = (
    "float16 float32 float64 bfloat16 uint8 uint16 uint32 uint64 int8 int16 int32 int64 bool complex32 complex64 "
    "complex128 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz"
)
DTYPES: Mapping[str, torch.dtype] = {
    name: getattr(torch, name) for name in _DTYPE_NAMES.split() if hasattr(torch, name)
}


@dataclass(frozen=True, slots=True)
class StorageType:
    """A class of storages; ``dtype`` is None if the tensor defines it."""

    name: str
    dtype: torch.dtype

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize


STORAGES: Mapping[str, StorageType] = {
    name: StorageType(name, dtype)
    for name, dtype in {
        "DoubleStorage": torch.float64,
        "FloatStorage": torch.float32,
        "HalfStorage": torch.float16,
        "BFloat16Storage": torch.bfloat16,
        "LongStorage": torch.int64,
        "IntStorage": torch.int32,
        "ShortStorage": torch.int16,
        "CharStorage": torch.int8,
        "ByteStorage": torch.uint8,
        "BoolStorage": torch.bool,
        "ComplexFloatStorage": torch.complex64,
        "ComplexDoubleStorage": torch.complex128,
        "UntypedStorage": torch.uint8,
    }.items()
}


@dataclass(frozen=True, slots=True, eq=False)
class Storage:
    """The bytes of tensors (uint8 [N]) and their type in the file."""

    data: torch.Tensor
    dtype: torch.dtype


def rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> torch.Tensor:
    """A view into a storage; offset and strides count elements, and must stay inside."""
    if not isinstance(storage, Storage):
        raise PickleError("a tensor has no storage")
    return _view(storage.data, storage.dtype, offset, size, stride)


def rebuild_typed_tensor(
    storage: Any, offset: Any, size: Any, stride: Any, _grad: Any, _hooks: Any, dtype: Any, *_: Any
) -> torch.Tensor:
    """As ``rebuild_tensor``, for dtypes without a storage class."""
    if not isinstance(storage, Storage) or not isinstance(dtype, torch.dtype):
        raise PickleError("a tensor has no storage")
    return _view(storage.data, dtype, offset, size, stride)


def _view(data: torch.Tensor, dtype: torch.dtype, offset: Any, size: Any, stride: Any) -> torch.Tensor:
    if not isinstance(size, tuple) or not isinstance(stride, tuple) or len(size) != len(stride) or len(size) > MAX_AXES:
        raise PickleError("a tensor has an invalid shape")
    numbers = (offset, *size, *stride)
    if not all(type(number) is int and 0 <= number < 1 << 48 for number in numbers):
        raise PickleError("a tensor has an invalid shape")
    available = len(data) // dtype.itemsize
    last, count = offset, 1
    for extent, step in zip(size, stride, strict=True):
        last += (extent - 1) * step
        count *= extent
    if (count and last >= available) or offset > available:
        raise PickleError("a tensor extends beyond its storage")
    if count > available and count * dtype.itemsize > EXPANDED_LIMIT:
        raise PickleError("a tensor declares far more values than the file contains")
    typed = data[: available * dtype.itemsize].view(dtype)
    return typed.as_strided(size, stride, offset)
