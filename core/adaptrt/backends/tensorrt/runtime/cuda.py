"""The CUDA runtime calls that an engine needs, through ``cuda-python``; a failed call raises an ``EngineError`` with a hint."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from adaptrt.backends.tensorrt.device import import_cudart, import_driver
from adaptrt.backends.tensorrt.runtime.short_calls import NOT_READY, MemoryType, ShortCalls, short_calls
from adaptrt.errors import EngineError, UsageError

_NOTHING = nullcontext()
_ASKED_AGAIN, _REMEMBERED = 64, 1024  # calls, addresses
_UNLOADED = 4  # CUDA_ERROR_DEINITIALIZED
LEGACY_STREAM, PER_THREAD_STREAM = 1, 2  # cudaStreamLegacy and cudaStreamPerThread: handles that always exist


class Cuda:
    """CUDA on one device. Where there are others, a call that needs it to be current restores the caller's afterwards."""

    def __init__(self, device: int) -> None:
        self.api, self._driver = import_cudart(), import_driver()
        self.device = device
        self.forked = False
        """In a process that was forked from the one that started CUDA: it does not work there."""
        self.capturing = threading.RLock()
        """Held during a capture, when device synchronization is not allowed."""
        self._ok = self.api.cudaError_t.cudaSuccess
        self._not_ready = self.api.cudaError_t.cudaErrorNotReady
        error, count = self.api.cudaGetDeviceCount()
        if error != self._ok or not count:
            raise EngineError(
                f"CUDA found no GPU ({self._describe(error)}).",
                hint=_HINTS.get(getattr(error, "name", ""), "Check the driver with nvidia-smi, and its version."),
            )
        if not 0 <= device < count:
            raise UsageError(
                f"Device not found: cuda:{device}; this machine has {count} GPU{'s' if count > 1 else ''}.",
                hint=f"Use cuda:0{f' to cuda:{count - 1}' if count > 1 else ''}.",
            )
        self._context: Any = None if count == 1 else self._primary_context()
        """Where there are several devices."""
        self._threads = threading.local()
        self._ordinary: dict[int, int] = {}
        self._short = short_calls()
        self._streams: set[int] = set()
        """Our own, which take short calls: a stream of others may be full of work that needs the interpreter lock to go on."""
        kinds = self.api.cudaMemcpyKind
        self.to_device, self.to_host = kinds.cudaMemcpyHostToDevice, kinds.cudaMemcpyDeviceToHost
        self.on_device = kinds.cudaMemcpyDeviceToDevice
        with self.current():
            self.check(self.api.cudaFree(0), "start CUDA")

    def current(self) -> AbstractContextManager[None]:
        """The device made current for the calling thread, and the one before it restored."""
        return _NOTHING if self._context is None or self.forked else self._switched()

    @contextmanager
    def _switched(self) -> Iterator[None]:
        """By the driver's functions: cudaSetDevice would start CUDA on the device that it switches back to, which takes memory there."""
        error, before = self._driver.cuCtxGetCurrent()
        if int(error) == _UNLOADED or int(before) == int(self._context):  # at process exit, CUDA has been unloaded
            yield
            return
        # in a thread without a context, the runtime's next call would make the one of its current device current
        if not int(before) and self.api.cudaGetDevice() == (self._ok, self.device):
            before = self._context
        try:  # also an interrupt after the first call restores what was current
            self.driven(self._driver.cuCtxSetCurrent(self._context), f"select cuda:{self.device}")
            yield
        finally:
            self._driver.cuCtxSetCurrent(before)

    def bind(self) -> None:
        """Make a device that is the only one current in this thread, for functions of the driver; others are within ``current``."""
        if self._context is None and not getattr(self._threads, "bound", False):
            self.check(self.api.cudaSetDevice(self.device), f"select cuda:{self.device}")
            self._threads.bound = True

    def _primary_context(self) -> Any:
        """Of the device, the one that the runtime and other libraries use."""
        doing = f"start cuda:{self.device}"
        self.driven(self._driver.cuInit(0), doing)
        device = self.driven(self._driver.cuDeviceGet(self.device), doing)
        return self.driven(self._driver.cuDevicePrimaryCtxRetain(device), doing)

    @staticmethod
    def driven(answer: tuple[Any, ...], doing: str) -> Any:
        """What a call of the driver returned after its error code."""
        error, *values = answer
        if int(error) != 0:
            raise EngineError(f"CUDA failed to {doing}: {getattr(error, 'name', error)}.")
        return values[0] if values else None

    def check(self, answer: tuple[Any, ...], doing: str) -> tuple[Any, ...]:
        """What a call returned after its error code; an ``EngineError`` if that is not success."""
        if answer[0] != self._ok:
            raise self.error(answer[0], doing)
        return answer[1:]

    def error(self, code: Any, doing: str) -> EngineError:
        self.api.cudaGetLastError()  # reset the error state for the next call, unless the error is sticky
        if code == self.api.cudaError_t.cudaErrorMemoryAllocation:
            free, total = self.memory()
            return EngineError(
                f"The GPU is out of memory: could not {doing} ({format_bytes(free)} of {format_bytes(total)} are free).",
                hint="Lower the maxima of the profile (--batch, --imgsz), use fewer contexts, or free memory elsewhere.",
            )
        return EngineError(
            f"CUDA failed to {doing}: {self._describe(code)}.", hint=_HINTS.get(getattr(code, "name", ""))
        )

    def memory(self) -> tuple[int, int]:
        """Bytes free and in total."""
        with self.current():
            free, total = self.check(self.api.cudaMemGetInfo(), "read the free memory")
        return int(free), int(total)

    def malloc(self, size: int, what: str) -> int:
        with self.current():
            (pointer,) = self.check(self.api.cudaMalloc(size), f"allocate {format_bytes(size)} for {what}")
        return int(pointer)

    def free(self, pointer: int) -> None:
        self.freed(self.api.cudaFree, pointer, doing="free device memory")

    def malloc_host(self, size: int) -> int:
        with self.current():
            (pointer,) = self.check(self.api.cudaHostAlloc(size, 0), f"pin {format_bytes(size)} of host memory")
        return int(pointer)

    def free_host(self, pointer: int) -> None:
        self.freed(self.api.cudaFreeHost, pointer, doing="free pinned memory")

    def copy(self, target: int, source: int, size: int, kind: Any, stream: int, *, pageable: bool = False) -> None:
        """``pageable`` host memory is copied by this thread, which releases the interpreter lock meanwhile."""
        short = None if pageable else self._short_on(stream)
        if short is not None and not short.copy(target, source, size, stream):
            return
        with self.current():
            answer = self.api.cudaMemcpyAsync(target, source, size, kind, stream)
        if answer[0] != self._ok:
            raise self.error(answer[0], f"copy {format_bytes(size)}")

    def copy_rows(self, target: int, source: int, size: int, step: int, count: int, kind: Any, stream: int) -> None:
        """Copy ``size`` bytes from every ``step``-th byte on, ``count`` times, side by side."""
        with self.current():
            answer = self.api.cudaMemcpy2DAsync(target, size, source, step, size, count, kind, stream)
        if answer[0] != self._ok:
            raise self.error(answer[0], f"copy {format_bytes(size * count)}")

    def record(self, event: int, stream: int) -> None:
        if (short := self._short_on(stream)) is not None and not short.record(event, stream):
            return
        with self.current():
            answer = self.api.cudaEventRecord(event, stream)
        if answer[0] != self._ok:
            raise self.error(answer[0], "record an event")

    def wait(self, stream: int, event: int) -> None:
        """``stream`` waits for ``event``; the host does not."""
        if (short := self._short_on(stream)) is not None and not short.wait(stream, event, 0):
            return
        with self.current():
            answer = self.api.cudaStreamWaitEvent(stream, event, 0)
        if answer[0] != self._ok:
            raise self.error(answer[0], "make a stream wait")

    def wait_finally(self, stream: int, event: int) -> None:
        """``wait`` for a finalizer, as ``freed``."""
        if (short := self._short_on(stream)) is None or short.wait(stream, event, 0):
            self.freed(self.api.cudaStreamWaitEvent, stream, event, 0, doing="make a stream wait")

    def launch(self, graph: int, stream: int) -> None:
        if (short := self._short_on(stream)) is not None and not short.launch(graph, stream):
            return
        with self.current():
            answer = self.api.cudaGraphLaunch(graph, stream)
        if answer[0] != self._ok:
            raise self.error(answer[0], "launch a graph")

    def _short_on(self, stream: int) -> ShortCalls | None:
        return self._short if stream in self._streams else None

    def happened(self, event: int) -> bool:
        if self._short is not None:
            answer = self._short.query(event)
            if answer in (0, NOT_READY):
                return bool(answer == 0)
        with self.current():
            (code,) = self.api.cudaEventQuery(event)
        if code != self._ok and code != self._not_ready:
            raise self.error(code, "run the engine")
        return bool(code == self._ok)

    def synchronize_event(self, event: int) -> None:
        with self.current():
            self.check(self.api.cudaEventSynchronize(event), "run the engine")

    def synchronize(self, stream: int) -> None:
        with self.current():
            (code,) = self.api.cudaStreamSynchronize(stream)
        if code != self._ok:
            raise self.error(code, "run the engine")

    def try_synchronize_device(self) -> bool:
        """Synchronize the device; ``False`` while a graph is being captured in this process."""
        with self.capturing, self.current():
            (code,) = self.api.cudaDeviceSynchronize()
            if code == self.api.cudaError_t.cudaErrorStreamCaptureUnsupported:
                self.api.cudaGetLastError()
                return False
            self.check((code,), "run the engine")
            return True

    def new_event(self) -> int:
        with self.current():
            (event,) = self.check(self.api.cudaEventCreateWithFlags(self.api.cudaEventDisableTiming), "create an event")
        return int(event)

    def free_event(self, event: int) -> None:
        self.freed(self.api.cudaEventDestroy, event, doing="destroy an event")

    def new_stream(self) -> Any:
        """A stream that does not synchronize with the legacy default stream, which would make capture fail."""
        with self.current():
            (stream,) = self.check(
                self.api.cudaStreamCreateWithFlags(self.api.cudaStreamNonBlocking), "create a stream"
            )
        self._streams.add(int(stream))
        return stream

    def free_stream(self, stream: Any) -> None:
        self._streams.discard(int(stream))
        self.freed(self.api.cudaStreamDestroy, stream, doing="destroy a stream")

    def new_pool(self) -> Any:
        """A memory pool of this device that keeps freed memory: returning it costs milliseconds."""
        api = self.api
        wanted = api.cudaMemPoolProps()
        wanted.allocType = api.cudaMemAllocationType.cudaMemAllocationTypePinned
        wanted.location.type = api.cudaMemLocationType.cudaMemLocationTypeDevice
        wanted.location.id = self.device
        keep = api.cudaMemPoolAttr.cudaMemPoolAttrReleaseThreshold
        with self.current():
            (pool,) = self.check(api.cudaMemPoolCreate(wanted), "create a memory pool")
            self.check(
                api.cudaMemPoolSetAttribute(pool, keep, self._driver.cuuint64_t(2**64 - 1)), "set up a memory pool"
            )
        return pool

    def free_pool(self, pool: Any) -> None:
        self.freed(self.api.cudaMemPoolDestroy, pool, doing="destroy a memory pool")

    def malloc_async(self, size: int, pool: Any, stream: int, what: str) -> int:
        with self.current():
            answer = self.api.cudaMallocFromPoolAsync(size, pool, stream)
        if answer[0] != self._ok:
            raise self.error(answer[0], f"allocate {format_bytes(size)} for {what}")
        return int(answer[1])

    def free_async(self, pointer: int, stream: int) -> None:
        self.freed(self.api.cudaFreeAsync, pointer, stream, doing="free device memory")

    def device_of(self, pointer: int) -> int:
        """The device of this memory; -1 for host memory, page-locked or not."""
        if self._short is not None and self._context is None and self._short.memory_type(pointer) == MemoryType.DEVICE:
            return self.device
        with self.current():
            (found,) = self.check(self.api.cudaPointerGetAttributes(pointer), "determine where an input is stored")
        kinds = self.api.cudaMemoryType
        return -1 if found.type in (kinds.cudaMemoryTypeUnregistered, kinds.cudaMemoryTypeHost) else int(found.device)

    def is_pinned(self, pointer: int) -> bool:
        """Whether this host memory is page-locked. What was not is asked about again after some calls: memory can be locked later."""
        left = self._ordinary.get(pointer)
        if left:
            self._ordinary[pointer] = left - 1
            return False
        if self._short is not None and self._short.is_page_locked(pointer):
            return True
        with self.current():
            error, found = self.api.cudaPointerGetAttributes(pointer)
        pinned = bool(error == self._ok and found.type == self.api.cudaMemoryType.cudaMemoryTypeHost)
        if not pinned:
            if len(self._ordinary) >= _REMEMBERED:
                self._ordinary.clear()
            self._ordinary[pointer] = _ASKED_AGAIN
        return pinned

    def freed(self, function: Callable[..., tuple[Any, ...]], *arguments: Any, doing: str) -> None:
        """Like ``check``, but ignores errors at process exit, when CUDA may be unloaded before its objects, and in forked processes."""
        with self.current():
            answer = function(*arguments)
        if answer[0] != self.api.cudaError_t.cudaErrorCudartUnloading and not self.forked:
            self.check(answer, doing)

    def _describe(self, code: Any) -> str:
        error, text = self.api.cudaGetErrorString(code)
        words = text.decode() if error == self._ok and isinstance(text, bytes) else "unknown error"
        return f"{getattr(code, 'name', code)}: {words}"


_HINTS = {
    "cudaErrorIllegalAddress": "The CUDA context is lost: restart the process. Possible causes: an input freed too early, or a plugin.",
    "cudaErrorInitializationError": "CUDA does not work in a process forked from one that uses it: use multiprocessing.get_context('spawn').",
    "cudaErrorInsufficientDriver": "The NVIDIA driver is missing or older than this CUDA: update it.",
    "cudaErrorStreamCaptureUnsupported": "Another thread used the legacy default stream during a capture; cuda_graphs=0 avoids it.",
}


def stream_handle(stream: Any) -> int:
    """The address of a stream given as a number, or as a torch, cupy, numba or cuda.core stream; 0 becomes 1 (legacy)."""
    if isinstance(stream, bool) or stream is None:
        raise UsageError(f"Invalid stream: {stream!r}.", hint="Pass its address, or torch.cuda.current_stream().")
    if not isinstance(stream, int):
        protocol = getattr(stream, "__cuda_stream__", None)
        if protocol is not None:
            stream = (protocol() if callable(protocol) else protocol)[1]
        else:
            for name in ("cuda_stream", "ptr", "handle"):  # torch, cupy, cuda.core
                if hasattr(stream, name):
                    stream = getattr(stream, name)
                    break
            else:
                try:
                    stream = int(stream)
                except (TypeError, ValueError):
                    raise UsageError(
                        f"Unsupported stream type: {type(stream).__name__}.",
                        hint="Pass its address (an int), or torch.cuda.current_stream().",
                    ) from None
    return int(stream) or LEGACY_STREAM


def device_index(device: str | int) -> int:
    """``cuda``, ``cuda:1`` or 1."""
    text = str(device)
    number = text.removeprefix("cuda").removeprefix(":") or "0"
    if not number.isdigit() or (text.startswith("cuda") and text not in ("cuda", f"cuda:{number}")):
        raise UsageError(f"Invalid device for an engine: {device!r}.", hint="Use cuda:0, cuda:1, ...")
    return int(number)


def format_bytes(size: int) -> str:
    amount = float(size)
    for unit in ("bytes", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"
