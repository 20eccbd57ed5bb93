"""The allow-list: every name that a checkpoint may use, with adaptrt's constructor for it.

Nothing here is looked up by a name from the file: the table is fixed. Tensors are rebuilt on the CPU, without gradient.
"""

from __future__ import annotations

import datetime
import pathlib
from collections import Counter, OrderedDict, defaultdict, deque
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from adaptrt.checkpoint.inert import InertName, InertObject
from adaptrt.checkpoint.machine import Constructor, PickleError, checked_key
from adaptrt.checkpoint.tensors import DTYPES, STORAGES, rebuild_tensor, rebuild_typed_tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PLAIN_KINDS = frozenset("?biufcSU")  # numpy dtypes without objects
_LONGEST_RANGE = 1 << 20


def _list(values: Any = ()) -> list[Any]:
    return list(_sequence(values))


def _sequence(values: Any) -> Any:
    if not isinstance(values, (list, tuple, set, frozenset)):
        raise PickleError(f"a container is created from {type(values).__name__}")
    return values


def _range(*parts: Any) -> range:
    whole = all(type(part) is int and abs(part) <= _LONGEST_RANGE for part in parts)
    if not whole or not 1 <= len(parts) <= 3 or 0 in parts[2:]:
        raise PickleError("a range is malformed, or too long")
    return range(*parts)


def _set(values: Any = ()) -> set[Any]:
    return {checked_key(value) for value in _sequence(values)}


def _frozenset(values: Any = ()) -> frozenset[Any]:
    return frozenset(_set(values))


def _pairs(values: Any = ()) -> list[tuple[Any, Any]]:
    pairs = list(values.items()) if isinstance(values, dict) else list(_sequence(values))
    if not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs):
        raise PickleError("a dict is not created from pairs")
    return [(checked_key(key), value) for key, value in pairs]


def _deque(values: Any = (), maxlen: Any = None) -> deque[Any]:
    return deque(_sequence(values), None if maxlen is None else int(maxlen))


def _bytes(value: Any = b"", *encoding: Any) -> bytes:
    """Never calls ``bytes(10**12)``, which would allocate."""
    if isinstance(value, str):
        return _encode(value, *encoding)
    return bytes(value if isinstance(value, (bytes, bytearray)) else _sequence(value))


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """Protocol 2 writes bytes as text, with a call that encodes it again."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1", "utf-8", "ascii"):
        raise PickleError("bytes have an unknown encoding")
    return text.encode(encoding)


def _path(kind: type[pathlib.PurePath]) -> Callable[..., pathlib.PurePath]:
    def build(*parts: Any) -> pathlib.PurePath:
        if not all(isinstance(part, str) for part in parts):
            raise PickleError("a path is not text")
        return kind(*parts)

    return build


def _size(values: Any = ()) -> torch.Size:
    return torch.Size(int(value) for value in _sequence(values))


def _device(kind: Any, index: Any = None) -> torch.device:
    if not isinstance(kind, str) or not (index is None or isinstance(index, int)):
        raise PickleError("a device is not text")
    return torch.device(kind) if index is None else torch.device(kind, index)


def _parameter(data: Any, *_: Any) -> torch.Tensor:
    if not isinstance(data, torch.Tensor):
        raise PickleError("a parameter is not a tensor")
    return data


def _from_type(function: Any, _kind: Any, args: Any, _state: Any = None) -> Any:
    """The plain tensor of a tensor subclass, or of a tensor with attributes."""
    if not isinstance(function, Constructor) or function.path not in TENSOR_CALLS or not isinstance(args, tuple):
        raise PickleError("a tensor uses an unknown rebuild function")
    return function.call(*args)


def _reconstructor(kind: Any, _base: Any, state: Any) -> InertObject:
    """How protocols 0 and 1 create objects."""
    if not isinstance(kind, InertName):
        raise PickleError("an object of an unexpected class")
    return InertObject(kind, () if state is None else (state,))


def _new_object(kind: Any, *args: Any) -> InertObject:
    if not isinstance(kind, InertName):
        raise PickleError("an object of an unexpected class")
    return InertObject(kind, args)


def _dtype(name: Any, *_: Any) -> np.dtype[Any]:
    dtype = np.dtype(name) if isinstance(name, str) and "," not in name else None
    if dtype is None or dtype.kind not in PLAIN_KINDS:
        raise PickleError("a numpy dtype that is not a plain type")
    return dtype


def _set_dtype_state(_dtype: np.dtype[Any], state: Any) -> None:
    """Only the byte order could matter, and a foreign one is not supported."""
    if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", "|", "="):
        raise PickleError("a numpy dtype of foreign byte order")


def _empty_array(kind: Any, shape: Any, _code: Any) -> np.ndarray[Any, Any]:
    if kind is not KNOWN["numpy.ndarray"] or shape != (0,):
        raise PickleError("a numpy array of an unexpected kind")
    return np.empty(0, dtype=np.uint8)


def _set_array_state(array: np.ndarray[Any, Any], state: Any) -> None:
    _version, shape, dtype, fortran, data = state
    _check_array(shape, dtype, data)
    cast("Any", array).__setstate__((1, tuple(shape), dtype, bool(fortran), bytes(data)))


def _check_array(shape: Any, dtype: Any, data: Any) -> None:
    if not isinstance(dtype, np.dtype) or not isinstance(data, (bytes, bytearray)) or not isinstance(shape, tuple):
        raise PickleError("a numpy array is malformed")
    count = 1
    for size in shape:
        if not isinstance(size, int) or size < 0:
            raise PickleError("a numpy array has an invalid shape")
        count *= size
    if len(shape) > 32 or count * dtype.itemsize != len(data):
        raise PickleError("a numpy array does not match its shape")


def _array_from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray[Any, Any]:
    _check_array(shape, dtype, data)
    array: np.ndarray[Any, Any] = np.ndarray(shape, dtype, bytearray(data), order="F" if order == "F" else "C")
    return array


def _scalar(dtype: Any, data: Any) -> Any:
    _check_array((), dtype, data)
    return np.frombuffer(data, dtype=dtype)[0]


def _moment(kind: Callable[..., Any], length: int) -> Callable[..., Any]:
    def build(state: Any, *_zone: Any) -> Any:
        raw = state.encode("latin1") if isinstance(state, str) else state
        if not isinstance(raw, bytes) or len(raw) != length:
            raise PickleError("a date is malformed")
        return kind(raw)

    return build


def _duration(days: Any = 0, seconds: Any = 0, microseconds: Any = 0) -> datetime.timedelta:
    return datetime.timedelta(int(days), int(seconds), int(microseconds))


TENSOR_CALLS: Mapping[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": rebuild_tensor,
    "torch._utils._rebuild_tensor_v3": rebuild_typed_tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
}

_CALLS: Mapping[str, Callable[..., Any]] = {
    **TENSOR_CALLS,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch.nn.parameter.Parameter": _parameter,
    "torch.Size": _size,
    "torch.device": _device,
    "collections.OrderedDict": lambda values=(): OrderedDict(_pairs(values)),
    "collections.defaultdict": lambda _factory=None, values=(): defaultdict(None, _pairs(values)),
    "collections.Counter": lambda values=(): Counter(dict(_pairs(values))),
    "collections.deque": _deque,
    "builtins.list": _list,
    "builtins.tuple": lambda values=(): tuple(_sequence(values)),
    "builtins.dict": lambda values=(): dict(_pairs(values)),
    "builtins.set": _set,
    "builtins.frozenset": _frozenset,
    "builtins.bytes": _bytes,
    "builtins.bytearray": lambda *args: bytearray(_bytes(*args)),
    "builtins.complex": lambda real=0.0, imaginary=0.0: complex(float(real), float(imaginary)),
    "builtins.range": _range,
    "builtins.xrange": _range,  # its name in protocol 2
    "builtins.slice": lambda *parts: slice(*parts),
    "_codecs.encode": _encode,
    "copyreg._reconstructor": _reconstructor,
    "copyreg.__newobj__": _new_object,
    "numpy.dtype": _dtype,
    "datetime.datetime": _moment(datetime.datetime, 10),
    "datetime.date": _moment(datetime.date, 4),
    "datetime.timedelta": _duration,
    **{f"numpy.{core}.multiarray._reconstruct": _empty_array for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _array_from_buffer for core in ("core", "_core")},
    **{
        f"{module}.{name}": _path(pathlib.PureWindowsPath if "Windows" in name else pathlib.PurePosixPath)
        for module in ("pathlib", "pathlib._local")
        for name in ("Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath")
    },
}

KNOWN: Mapping[str, Any] = {
    **{path: Constructor(path, call) for path, call in _CALLS.items()},
    **{f"torch.{name}": dtype for name, dtype in DTYPES.items()},
    **{f"{module}.{name}": kind for name, kind in STORAGES.items() for module in ("torch", "torch.cuda")},
    "torch.storage.UntypedStorage": STORAGES["UntypedStorage"],
    # Named in a state or a default, never called.
    **{
        path: InertName(*path.rsplit(".", 1))
        for path in (
            "builtins.int",
            "builtins.float",
            "builtins.str",
            "builtins.bool",
            "builtins.object",
            "numpy.ndarray",
            "torch.Tensor",
            "torch._tensor.Tensor",
        )
    },
}

SETTERS: Mapping[type, Callable[[Any, Any], None]] = {
    np.ndarray: _set_array_state,
    **{type(np.dtype(code)): _set_dtype_state for code in "?bBhHiIlLqQefdgFDGSU"},
}
