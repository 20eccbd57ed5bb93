"""Zero-copy exchange of device arrays with other libraries."""

from __future__ import annotations

import importlib
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from adaptrt.backends.tensorrt.runtime.cuda import LEGACY_STREAM, Cuda
from adaptrt.backends.tensorrt.runtime.memory import Completion, PinnedPool
from adaptrt.backends.tensorrt.runtime.profiles import Sizes
from adaptrt.errors import DependencyError, EngineError, UsageError

_CUDA_DEVICE = 2  # kDLCUDA


class Holder(Protocol):
    """The owner of an output's memory, which lives as long as the holder."""

    readers: set[int]
    """Streams on which other libraries may read."""

    def check(self) -> None:
        """Raises if the memory has been reused."""


class DeviceArray:
    """An output on the GPU, C-contiguous, shared with torch, cupy and other libraries without a copy.

    ``torch.from_dlpack(array)`` and ``cupy.from_dlpack(array)`` make their current stream wait for the engine; the host
    does not wait. ``__cuda_array_interface__`` waits on the host, since a library that reads it may not handle streams.
    """

    __slots__ = ("__weakref__", "_completion", "_cuda", "_holder", "_pinned", "dtype", "name", "pointer", "shape")

    def __init__(
        self,
        name: str,
        pointer: int,
        shape: Sizes,
        dtype: np.dtype[Any],
        holder: Holder,
        completion: Completion,
        pinned: PinnedPool,
    ) -> None:
        self.name, self.pointer, self.shape, self.dtype = name, pointer, shape, dtype
        self._holder, self._completion, self._pinned = holder, completion, pinned
        self._cuda = pinned.cuda

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def device(self) -> str:
        return f"cuda:{self._cuda.device}"

    def numpy(self) -> NDArray[Any]:
        """A copy on the host; waits for the engine."""
        self._holder.check()
        block = self._pinned.allocate(self.nbytes)
        stream = self._pinned.stream.handle
        self._completion.wait_on(stream)
        self._cuda.copy(block.pointer, self.pointer, self.nbytes, self._cuda.to_host, stream)
        self._cuda.synchronize(stream)
        return self._pinned.array(block, self.shape, self.dtype)

    def synchronize(self) -> None:
        """Wait on the host until the engine has written it."""
        self._completion.synchronize()

    def wait_on(self, stream: int) -> None:
        """Make ``stream`` (its address) wait for it."""
        self._holder.check()
        self._completion.wait_on(stream)
        if stream != self._completion.stream:
            self._holder.readers.add(stream)

    def __dlpack_device__(self) -> tuple[int, int]:
        return _CUDA_DEVICE, self._cuda.device

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        if copy or (dl_device is not None and tuple(dl_device) != self.__dlpack_device__()):
            raise BufferError(
                f"this array is on {self.device} and is exported without a copy; use numpy() for a copy on the host"
            )
        self._holder.check()
        if stream is None:
            stream = LEGACY_STREAM
        if stream != -1:  # -1: the consumer handles ordering
            self.wait_on(stream)
        core = _cuda_core()
        if core is None:
            raise DependencyError("DLPack requires cuda-core.", hint="Install it: pip install cuda-core")
        buffer = core.Buffer.from_handle(self.pointer, self.nbytes, owner=self)
        return core.View.from_buffer(buffer, self.shape, dtype=self.dtype).__dlpack__(max_version=max_version)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        self._holder.check()
        self._completion.synchronize()
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.pointer, False),
            "strides": None,
            "stream": None,
            "version": 3,
        }

    def __repr__(self) -> str:
        return f"DeviceArray({self.name}, {'x'.join(map(str, self.shape))}, {self.dtype}, {self.device})"


class Kept:
    """The holder of an array of another library."""

    __slots__ = ("owner", "readers")

    def __init__(self, owner: Any) -> None:
        self.owner = owner
        self.readers: set[int] = set()

    def check(self) -> None:
        """Always valid: the owner keeps the memory."""


class InputView(NamedTuple):
    """A view of an input; ``owner`` keeps the memory alive. ``pointer`` is 0 for a numpy array, which is the owner.

    ``ordered``: whether the stream that it was made for may wait for work on the memory.
    """

    pointer: int
    shape: Sizes
    dtype: np.dtype[Any]
    owner: Any
    ordered: bool = True

    @property
    def on_host(self) -> bool:
        return not self.pointer


def view_input(name: str, given: Any, stream: int, cuda: Cuda) -> InputView:
    """A view of an array of any library; work on ``stream`` waits for pending work of the array's owner."""
    if isinstance(given, np.ndarray):
        return InputView(0, given.shape, given.dtype, given)
    if isinstance(given, DeviceArray):
        given.wait_on(stream)
        return InputView(given.pointer, given.shape, given.dtype, given)
    core = _cuda_core()
    if core is None:
        return _view_interface(name, given, stream, cuda)
    if not hasattr(given, "__dlpack__") and not hasattr(given, "__cuda_array_interface__"):
        raise _no_array(name, given)
    if getattr(given, "requires_grad", False):
        raise UsageError(f"Input {name!r} requires gradients.", hint="Detach it: x.detach()")
    try:
        with cuda.current():  # libraries export arrays of the current device, and record events on it
            view = core.View.from_any_interface(given, stream)
    except (BufferError, TypeError, NotImplementedError) as error:
        raise UsageError(
            f"Input {name!r} ({type(given).__name__}) cannot be read: {error}", hint="Pass a dense array."
        ) from error
    if not view.is_device_accessible:
        raise UsageError(
            f"Input {name!r} is in host memory ({type(given).__name__}).",
            hint=f"Pass a numpy array, or move it: x.to('cuda:{cuda.device}')",
        )
    if view.device_id != cuda.device:
        raise _wrong_device(name, view.device_id, cuda.device)
    if not _contiguous(view.shape, view.strides):
        raise _not_contiguous(name)
    return InputView(view.ptr, view.shape, view.dtype, view)


def _view_interface(name: str, given: Any, stream: int, cuda: Cuda) -> InputView:
    """Without cuda-core: the CUDA array interface, version 3."""
    interface = getattr(given, "__cuda_array_interface__", None)
    if interface is None:
        if hasattr(given, "__dlpack__"):
            raise DependencyError(
                f"Input {name!r} uses DLPack, which requires cuda-core.", hint="Install it: pip install cuda-core"
            )
        raise _no_array(name, given)
    dtype, shape = np.dtype(interface["typestr"]), tuple(interface["shape"])
    strides = interface.get("strides")
    if strides is not None and not _contiguous(shape, tuple(step // dtype.itemsize for step in strides)):
        raise _not_contiguous(name)
    pointer = int(interface["data"][0])
    where = cuda.device_of(pointer)
    if where != cuda.device:
        raise _wrong_device(name, where, cuda.device)
    producer = interface.get("stream")
    if producer is not None and producer != stream:
        event = cuda.new_event()
        cuda.record(event, int(producer))
        cuda.wait(stream, event)
        cuda.free_event(event)
    return InputView(pointer, shape, dtype, given, ordered=producer is not None)


def _no_array(name: str, given: Any) -> UsageError:
    return UsageError(
        f"Input {name!r} is a {type(given).__name__}, which is not an array.",
        hint="Pass a numpy array, or an array with __dlpack__ or __cuda_array_interface__ (torch, cupy, ...).",
    )


def _wrong_device(name: str, found: int, wanted: int) -> UsageError:
    return UsageError(
        f"Input {name!r} is on cuda:{found}, the engine on cuda:{wanted}.",
        hint=f"Move it (x.to('cuda:{wanted}')), or load the engine with device='cuda:{found}'.",
    )


def _not_contiguous(name: str) -> UsageError:
    return UsageError(f"Input {name!r} is not C-contiguous.", hint="Pass a contiguous copy: x.contiguous()")


def _contiguous(shape: Sizes, strides: Sizes | None) -> bool:
    return strides is None or tuple(strides) == _dense(shape) or _dense_but_for_ones(shape, strides)


@lru_cache(maxsize=256)
def _dense(shape: Sizes) -> Sizes:
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _dense_but_for_ones(shape: Sizes, strides: Sizes) -> bool:
    """The stride of an axis of size 1 is arbitrary."""
    return 0 in shape or all(
        size == 1 or step == dense for size, step, dense in zip(shape, strides, _dense(shape), strict=True)
    )


@dataclass(frozen=True)
class _Core:
    Buffer: Any
    View: Any


@lru_cache(maxsize=1)
def _cuda_core() -> _Core | None:
    """cuda-core, which supports DLPack, if installed."""
    with _importing_core:
        try:
            core, utils = importlib.import_module("cuda.core"), importlib.import_module("cuda.core.utils")
        except ImportError:
            return None
    return _Core(core.Buffer, utils.StridedMemoryView)


_importing_core = threading.Lock()
"""While it is imported it copies the attributes of another module, also those that mark it as incomplete for other threads."""


class BorrowedBuffers:
    """The static outputs of a lane, borrowed by a caller until the next call."""

    __slots__ = ("readers", "valid")

    def __init__(self) -> None:
        self.readers: set[int] = set()
        self.valid = True


class Loan:
    """Held by borrowed outputs; ``end`` is called when the last of them is released."""

    __slots__ = ("_buffers", "_end", "readers")

    def __init__(self, buffers: BorrowedBuffers, end: Callable[[], None]) -> None:
        self._buffers, self._end = buffers, end
        self.readers = buffers.readers

    def check(self) -> None:
        if not self._buffers.valid:
            raise EngineError(
                "This output was borrowed and has been overwritten by a later call.",
                hint="Use it before the next call, or set outputs='owned'.",
            )

    def __del__(self) -> None:
        self._end()
