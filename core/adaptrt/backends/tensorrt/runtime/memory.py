"""Device and pinned host memory: its owners, which end in any order if a reference cycle has them, and when it may be reused."""

from __future__ import annotations

import math
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from adaptrt.backends.tensorrt.runtime.cuda import LEGACY_STREAM, PER_THREAD_STREAM, Cuda
from adaptrt.errors import EngineError

if TYPE_CHECKING:
    from adaptrt.backends.tensorrt.runtime.engine import EngineTensor

_LASTING = (LEGACY_STREAM, PER_THREAD_STREAM)
_CALLS_AHEAD = 64  # limit on pending inputs and outputs: how far the host may run ahead of the GPU
_OUTGROWN_BLOCKS, _OUTGROWN_BYTES = 64, 256 << 20
_PINNED_BYTES = 512 << 20


class Stream:
    """An owned CUDA stream."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self._stream = cuda.new_stream()
        self.handle = int(self._stream)

    def __del__(self) -> None:
        if getattr(self, "_stream", None) is not None:
            self._cuda.free_stream(self._stream)
            self.handle = 0


class Events:
    """A pool of events: creating an event costs more than recording it."""

    def __init__(self, cuda: Cuda) -> None:
        self.cuda = cuda
        self._free: list[Any] = []

    def take(self) -> Any:
        try:
            return self._free.pop()
        except IndexError:
            return self.cuda.new_event()

    def give(self, event: Any) -> None:
        self._free.append(event)

    def __del__(self) -> None:
        for event in self._free:
            self.cuda.free_event(event)


class Completion:
    """The completion of one call on the device; streams or the host can wait for it."""

    __slots__ = ("_event", "_events", "stream")

    def __init__(self, events: Events, stream: int) -> None:
        self._events = events
        self._event = events.take()
        self.stream = stream
        events.cuda.record(self._event, stream)

    def wait_on(self, stream: int) -> None:
        """Make later work on ``stream`` wait for this; no-op on the call's own stream."""
        if stream != self.stream:
            self._events.cuda.wait(stream, self._event)

    def hold_back(self, stream: int) -> bool:
        """``wait_on`` for a finalizer, where CUDA may be unloaded; ``False`` if the event was given back before."""
        if self._event is not None and stream != self.stream:
            self._events.cuda.wait_finally(stream, self._event)
        return self._event is not None

    def happened(self) -> bool:
        return self._events.cuda.happened(self._event)

    def synchronize(self) -> None:
        self._events.cuda.synchronize_event(self._event)

    def __del__(self) -> None:
        if hasattr(self, "_event"):
            self._events.give(self._event)
            self._event = None


class HeldInputs:
    """Keeps inputs of running calls alive: if freed earlier, their allocator could reuse the memory."""

    def __init__(self) -> None:
        self._calls: deque[tuple[Completion, Any]] = deque()

    def hold(self, completion: Completion, inputs: Any) -> None:
        self.release()
        if len(self._calls) >= _CALLS_AHEAD:
            self._calls.popleft()[0].synchronize()
        self._calls.append((completion, inputs))

    def release(self) -> None:
        while self._calls and self._calls[0][0].happened():
            self._calls.popleft()

    def __len__(self) -> int:
        return len(self._calls)


class DeviceBuffer:
    """One flat device allocation, freed with the object."""

    def __init__(self, cuda: Cuda, size: int, what: str) -> None:
        self._cuda = cuda
        self.size = size
        self.pointer = cuda.malloc(max(size, 1), what)

    def free(self) -> None:
        if self.pointer:
            pointer, self.pointer = self.pointer, 0
            self._cuda.free(pointer)

    def __del__(self) -> None:
        if hasattr(self, "pointer"):
            self.free()


class DevicePool:
    """Memory for outputs that the caller owns, allocated and freed in the order of streams."""

    def __init__(self, cuda: Cuda) -> None:
        self.cuda = cuda
        self.stream = Stream(cuda)
        """A stream for work outside of calls: a lane's stream may be capturing for another thread."""
        self._pool = cuda.new_pool()
        self._lock = threading.RLock()  # the garbage collector may free a block inside of it
        self._outgrown: list[tuple[int, int]] = []
        self._ended = False

    def allocate(self, size: int, stream: int, what: str) -> OwnedBlock:
        """Ready for work given to ``stream``."""
        return OwnedBlock(self, self.cuda.malloc_async(max(size, 1), self._pool, stream, what), size)

    def free_later(self, pointer: int, size: int) -> None:
        """Free the memory later, together with other blocks, after one device synchronization.

        The stream that read this memory may have been destroyed, and using a destroyed stream is undefined behavior.
        """
        with self._lock:
            self._outgrown.append((pointer, size))
        if self._ended:
            self.free_outgrown()

    def tidy(self) -> None:
        """Between calls: free what ``free_later`` collected, if it is large."""
        if not self._outgrown:
            return
        with self._lock:
            much = len(self._outgrown) >= _OUTGROWN_BLOCKS or sum(size for _, size in self._outgrown) >= _OUTGROWN_BYTES
        if much:
            self.free_outgrown()

    def free_outgrown(self) -> None:
        with self._lock:
            blocks, self._outgrown = self._outgrown, []
        unloaded = self.cuda.api.cudaError_t.cudaErrorCudartUnloading  # at process exit
        if not blocks or self.cuda.forked or self.cuda.api.cudaGetDevice()[0] == unloaded:
            return
        if self.cuda.try_synchronize_device():
            with self.cuda.current():
                for pointer, _ in blocks:
                    self.cuda.free_async(pointer, LEGACY_STREAM)
        else:  # the next call tries again
            with self._lock:
                self._outgrown += blocks

    def __del__(self) -> None:
        if hasattr(self, "_ended"):
            self._ended = True
            self.free_outgrown()
            self.cuda.free_pool(self._pool)


class OwnedBlock:
    """One output's memory; returned to the pool when the last reference is released."""

    __slots__ = ("_pool", "_size", "completion", "pointer", "readers")

    def __init__(self, pool: DevicePool, pointer: int, size: int) -> None:
        self.completion: Completion | None = None
        self.readers: set[int] = set()
        self._pool, self._size = pool, size
        self.pointer = pointer

    def check(self) -> None:
        """Always valid: the caller owns the memory."""

    def __del__(self) -> None:
        if not hasattr(self, "pointer"):  # Ctrl-C before it had one
            return
        pool, completion = self._pool, self.completion
        known = len(self.readers) < 2 and self.readers.issubset(_LASTING)
        stream = next(iter(self.readers), pool.stream.handle) if known and pool.stream.handle else 0
        with pool.cuda.current():
            if stream and (completion is None or completion.hold_back(stream)):
                pool.cuda.free_async(self.pointer, stream)
            else:
                pool.free_later(self.pointer, self._size)


class PinnedPool:
    """Page-locked host memory. Blocks have few sizes and are kept for the next call.

    Kept and lent blocks together stay below ``limit`` bytes, or below the most that was ever lent at once: a stream that needs more
    than the limit would otherwise allocate page-locked memory for every batch, which takes longer than to fill it. Beyond
    that, blocks whose size was not needed for the longest time are freed.
    """

    _inputs: ClassVar[dict[int, weakref.ref[PinnedBlock]]] = {}
    """Blocks of ``input_array`` by their addresses, of every pool: the GPU reads all of them, and to ask CUDA takes longer."""

    def __init__(self, cuda: Cuda, limit: int = _PINNED_BYTES) -> None:
        self.cuda = cuda
        self.stream = Stream(cuda)
        """For copies to the host outside of calls."""
        self._limit = self._most = limit
        self._kept = 0
        self._lent = 0
        self._free: OrderedDict[int, list[int]] = OrderedDict()
        self._lock = threading.RLock()  # the garbage collector may give a block back inside of it

    def allocate(self, size: int) -> PinnedBlock:
        room = _room(size)
        with self._lock:
            free = self._free.get(room)
            pointer = free.pop() if free else 0
            if pointer:
                self._kept -= room
                self._free.move_to_end(room)
            self._lent += room
            self._most = max(self._most, self._lent)
        try:
            return PinnedBlock(self, pointer or self.cuda.malloc_host(room), room)
        except EngineError:
            with self._lock:
                self._lent -= room
            raise

    def array(self, block: PinnedBlock, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """The contents of the block, owned by the caller; copied to pageable memory if the caller holds too much pinned memory."""
        array = block.array(shape, dtype)
        return array.copy() if self._lent > self._limit else array

    def input_array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """An array to write an input into, which ``block_of`` finds again; pageable if too much pinned memory is lent."""
        size = math.prod(shape) * dtype.itemsize
        if not size or self._lent + size > self._limit:
            return np.empty(shape, dtype)
        block = self.allocate(size)
        self._inputs[block.pointer] = weakref.ref(block)
        return block.array(shape, dtype)

    def block_of(self, array: NDArray[Any]) -> PinnedBlock | None:
        """The block of a dense array that starts where an ``input_array`` does."""
        found = self._inputs.get(array.__array_interface__["data"][0])
        return None if found is None or not array.flags.c_contiguous else found()

    def has_input(self, address: int) -> bool:
        """Whether an ``input_array`` that is in use begins there."""
        found = self._inputs.get(address)
        return found is not None and found() is not None

    def give(self, pointer: int, room: int) -> None:
        self._inputs.pop(pointer, None)
        with self._lock:
            self._lent -= room
            self._kept += room
            self._free.setdefault(room, []).append(pointer)
            self._free.move_to_end(room)
            unneeded = self._beyond()
        for one in unneeded:
            self.cuda.free_host(one)

    def _beyond(self) -> list[int]:
        """Blocks to free, of the size that was not needed for the longest time; with the lock held."""
        found = []
        while self._kept and self._kept + self._lent > self._most:
            room, pointers = next(iter(self._free.items()))
            if pointers:
                found.append(pointers.pop())
                self._kept -= room
            else:
                del self._free[room]
        return found

    def __del__(self) -> None:
        if hasattr(self, "_lock"):
            self._most = -1  # what is given back later is freed
            for pointer in self._beyond():
                self.cuda.free_host(pointer)


def _room(size: int) -> int:
    """The size of a block: a power of two, and above 1 MiB also the eighths between two of them."""
    bits = max(12, (max(size, 1) - 1).bit_length())
    step = 1 << (bits - 4 if bits > 20 else bits)
    return -(-max(size, 1) // step) * step


class PinnedBlock:
    """Pinned memory that returns to its pool with the last array that uses it."""

    __slots__ = ("__weakref__", "_pool", "_room", "pointer")

    def __init__(self, pool: PinnedPool, pointer: int, room: int) -> None:
        self._pool, self.pointer, self._room = pool, pointer, room

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """The first elements as an array of this shape; it holds the block."""
        size = math.prod(shape) * dtype.itemsize
        return np.asarray(_View(self, size)).view(dtype).reshape(shape) if size else np.empty(shape, dtype)

    def __del__(self) -> None:
        if hasattr(self, "_room"):
            self._pool.give(self.pointer, self._room)


def arrays_on_host(
    pinned: PinnedPool,
    tensors: Sequence[EngineTensor],
    pointers: Sequence[int],
    shapes: Sequence[tuple[int, ...]],
    stream: int,
) -> dict[str, NDArray[Any]]:
    """Copies of outputs in page-locked memory, owned by the caller; waits for the stream."""
    try:
        read = copies_to_host(pinned, tensors, pointers, shapes, stream)
    finally:  # also after an error, before other calls get the memory that the GPU writes
        pinned.cuda.synchronize(stream)
    return read()


def copies_to_host(
    pinned: PinnedPool,
    tensors: Sequence[EngineTensor],
    pointers: Sequence[int],
    shapes: Sequence[tuple[int, ...]],
    stream: int,
) -> Callable[[], dict[str, NDArray[Any]]]:
    """Copy outputs to page-locked memory; once the stream's work is done, the function returned gives the arrays, owned by the caller."""
    cuda, blocks = pinned.cuda, []
    for tensor, pointer, shape in zip(tensors, pointers, shapes, strict=True):
        size = tensor.bytes_of(shape)
        block = pinned.allocate(size)
        if size:
            cuda.copy(block.pointer, pointer, size, cuda.to_host, stream)
        blocks.append(block)

    def read() -> dict[str, NDArray[Any]]:
        return {
            tensor.name: pinned.array(block, shape, tensor.dtype)
            for tensor, block, shape in zip(tensors, blocks, shapes, strict=True)
        }

    return read


class SmallOutputs:
    """Page-locked memory at a fixed address for all outputs of a lane, and the caller's copies of it."""

    def __init__(self, pinned: PinnedPool, largest: Sequence[int]) -> None:
        ends = list(accumulate(-(-size // 256) * 256 for size in largest))
        self.offsets = [0, *ends[:-1]]
        self.block = pinned.allocate(ends[-1])
        self._bytes = self.block.array((ends[-1],), np.dtype(np.uint8))

    def copies(self, outputs: Sequence[EngineTensor], shapes: Sequence[tuple[int, ...]]) -> dict[str, NDArray[Any]]:
        return {
            tensor.name: self._bytes[offset : offset + tensor.bytes_of(shape)].view(tensor.dtype).reshape(shape).copy()
            for tensor, shape, offset in zip(outputs, shapes, self.offsets, strict=True)
        }


class _View:
    """The array interface; an array created from it holds a reference to this object, which holds the block."""

    __slots__ = ("__array_interface__", "_block")

    def __init__(self, block: PinnedBlock, size: int) -> None:
        self._block = block
        self.__array_interface__ = {"shape": (size,), "typestr": "|u1", "data": (block.pointer, False), "version": 3}
