"""A GPU made of host memory, and TensorRT's runtime classes on it, for tests of buffers, streams, graphs and threads.

Nothing happens before it must: work waits in its stream until somebody synchronizes, and a stream runs another one only
when an event makes it. So a missing wait shows as a wrong number, and memory that was freed or never written fails.
TensorRT's names are those of the recorded surface of one version: anything else fails, as do calls that no signature of
it takes. What an engine computes here says nothing about what TensorRT would compute.
"""

from __future__ import annotations

import ctypes
import enum
import gc
import itertools
import re
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from types import MethodType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from tensorrt_surfaces import read_surface

_PARAMETERS = re.compile(r"\((?P<parameters>.*)\)(?: -> .+)?$")

# of the runtime's functions, those that work without CUDA having been started on the current device
_START_NOTHING = {
    "cudaGetDevice", "cudaGetDeviceCount", "cudaGetDeviceProperties", "cudaGetErrorString", "cudaGetLastError", "cudaMemPoolProps",
    "cudaRuntimeGetVersion",
}  # fmt: skip


class Code(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInitializationError = 3
    cudaErrorCudartUnloading = 4
    cudaErrorNotReady = 600
    cudaErrorStreamCaptureUnsupported = 900


def _codes(name: str, *members: str) -> Any:
    return enum.IntEnum(name, list(members), start=0)


@dataclass
class Event:
    recorded: int = 0
    done: int = 0
    stream: int = 0


class Gpu:
    """The module ``cuda.bindings.runtime``: the functions that adaptrt calls, each with its error code first."""

    cudaError_t = Code
    cudaMemcpyKind = _codes(
        "cudaMemcpyKind",
        "cudaMemcpyHostToHost",
        "cudaMemcpyHostToDevice",
        "cudaMemcpyDeviceToHost",
        "cudaMemcpyDeviceToDevice",
    )
    cudaStreamCaptureMode = _codes(
        "cudaStreamCaptureMode",
        "cudaStreamCaptureModeGlobal",
        "cudaStreamCaptureModeThreadLocal",
        "cudaStreamCaptureModeRelaxed",
    )
    cudaMemAllocationType = _codes(
        "cudaMemAllocationType", "cudaMemAllocationTypeInvalid", "cudaMemAllocationTypePinned"
    )
    cudaMemLocationType = _codes("cudaMemLocationType", "cudaMemLocationTypeInvalid", "cudaMemLocationTypeDevice")
    cudaMemPoolAttr = SimpleNamespace(cudaMemPoolAttrReleaseThreshold=4)
    cudaMemoryType = _codes(
        "cudaMemoryType",
        "cudaMemoryTypeUnregistered",
        "cudaMemoryTypeHost",
        "cudaMemoryTypeDevice",
        "cudaMemoryTypeManaged",
    )
    cudaStreamNonBlocking = 1
    cudaEventDisableTiming = 2

    def __init__(self, *, devices: int = 1, memory: int = 1 << 30) -> None:
        self.devices, self.total = devices, memory
        self.lock = threading.RLock()
        self.blocks: dict[int, tuple[Any, int, str]] = {}
        self.streams: dict[int, deque[Any]] = {1: deque(), 2: deque()}
        self.events: dict[int, Event] = {}
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.capturing: dict[int, list[Callable[[], None]]] = {}
        self.capturer: dict[int, int] = {}
        self.ids = itertools.count(1000)
        self.counts: dict[str, int] = {}
        self.current = threading.local()
        self.started: set[int] = set()
        """Devices on which CUDA was started, which takes memory there."""
        self.refuse_capture = False
        self.misused: list[BaseException] = []
        """Errors in calls of the driver, which no caller sees."""
        self.driver_functions = self._driver_functions()

    def _driver_functions(self) -> dict[str, Any]:
        """The driver's functions, as C calls them; they keep the interpreter lock, as adaptrt does."""
        address, number, size = ctypes.c_void_p, ctypes.c_uint, ctypes.c_size_t

        def function(call: Callable[..., Any], *parameters: Any) -> Any:
            def answer(*arguments: Any) -> int:
                try:
                    return int(call(*(one or 0 for one in arguments))[0])
                except BaseException as error:
                    self.misused.append(error)
                    return 999

            return ctypes.PYFUNCTYPE(ctypes.c_int, *parameters)(answer)

        return {
            "cuMemcpyAsync": function(self._copy_locked, address, address, size, address),
            "cuEventRecord": function(self.cudaEventRecord, address, address),
            "cuStreamWaitEvent": function(self.cudaStreamWaitEvent, address, address, number),
            "cuEventQuery": function(self.cudaEventQuery, address),
            "cuGraphLaunch": function(self.cudaGraphLaunch, address, address),
            "cuPointerGetAttribute": function(self._attribute_of, address, number, address),
        }

    def cuGetProcAddress(self, name: bytes, version: int, flags: int) -> Any:
        assert version >= 11030, "cuGetProcAddress itself is of CUDA 11.3"
        assert not flags
        found = ctypes.cast(self.driver_functions[name.decode()], ctypes.c_void_p).value
        return Code.cudaSuccess, found, 0

    def _copy_locked(self, target: int, source: int, size: int, stream: int) -> Any:
        kinds = [self._kind(source), self._kind(target)]
        assert all(kinds), "a copy of pageable memory keeps the interpreter lock"
        assert "managed" not in kinds, "a copy of managed memory, which may move its pages, keeps the interpreter lock"
        names = ["Device" if kind == "device" else "Host" for kind in kinds]
        return self.cudaMemcpyAsync(target, source, size, self.cudaMemcpyKind["cudaMemcpy" + "To".join(names)], stream)

    def _attribute_of(self, where: int, attribute: int, pointer: int) -> Any:
        """Managed memory: that of the host or of a device, wherever its pages are."""
        kind = self._kind(pointer)
        if not kind:
            return (Code.cudaErrorInvalidValue,)
        memory_type, is_managed = 2, 8
        found = {memory_type: 2 if kind == "device" else 1, is_managed: int(kind == "managed")}
        ctypes.c_uint.from_address(where).value = found[attribute]
        return (Code.cudaSuccess,)

    def _kind(self, pointer: int) -> str:
        """``device``, ``managed``, ``host`` if page-locked, or nothing."""
        with self.lock:
            block = self.blocks.get(pointer)
            if block is not None:
                return block[2]
            blocks = list(self.blocks.items())  # the garbage collector may free one in this thread
        return next((kind for start, (_, size, kind) in blocks if start < pointer < start + size), "")

    def used(self, kind: str | None = None) -> int:
        with self.lock:
            blocks = list(self.blocks.values())
        return sum(size for _, size, what in blocks if kind in (None, what))

    def view(self, pointer: int, size: int) -> np.ndarray[Any, Any]:
        """The bytes at an address; fails where nothing is allocated."""
        with self.lock:
            block = self.blocks.get(pointer)
            if block is not None and size <= block[1]:
                return np.frombuffer(block[0], np.uint8)[:size]
            for start, (memory, length, _) in list(self.blocks.items()):
                if start <= pointer and pointer + size <= start + length:
                    return np.frombuffer(memory, np.uint8)[pointer - start : pointer - start + size]
        raise AssertionError(f"{size} bytes at {pointer:#x} are not allocated")

    def submit(self, stream: int, work: Callable[[], None]) -> None:
        with self.lock:
            if stream in self.capturing:
                assert self.capturer[stream] == threading.get_ident(), "another thread's work lands in a graph"
                self.capturing[stream].append(work)
            else:
                self.streams[stream].append(work)

    def drain(self, stream: int, until: Callable[[], bool] = lambda: False) -> None:
        with self.lock:
            queue = self.streams[stream]
            collecting = gc.isenabled()
            gc.disable()  # a collection inside of a piece of work would free, wait, and so run what comes after it first
            try:
                while queue and not until():
                    queue.popleft()()
            finally:
                if collecting:
                    gc.enable()

    def _drain_all(self) -> None:
        with self.lock:  # no other thread destroys one meanwhile
            for stream in set(self.streams) - set(self.capturing):
                self.drain(stream)

    def _allocate(self, size: int, kind: str) -> tuple[Code, int]:
        with self.lock:
            self._count(f"allocate {kind}")
            if kind == "device" and self.used("device") + size > self.total:
                return Code.cudaErrorMemoryAllocation, 0
            memory = (ctypes.c_char * max(size, 1)).from_buffer(bytearray(b"\xee" * max(size, 1)))
            pointer = ctypes.addressof(memory)
            self.blocks[pointer] = (memory, size, kind)
            return Code.cudaSuccess, pointer

    def _release(self, pointer: int) -> None:
        with self.lock:
            memory, size, _ = self.blocks.pop(pointer)
            ctypes.memset(ctypes.addressof(memory), 0xEE, max(size, 1))

    def _count(self, name: str) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1

    def cudaGetDeviceCount(self) -> Any:
        return Code.cudaSuccess, self.devices

    def _current_device(self) -> int:
        context = getattr(self.current, "context", 0)
        return int(context - 1 if context else getattr(self.current, "device", 0))

    def start(self) -> None:
        """What calls of the runtime and objects of TensorRT do with the current device."""
        self.started.add(self._current_device())

    def starting(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            answer = function(*arguments)
            self.start()
            return answer

        return call

    def cudaGetDevice(self) -> Any:
        return Code.cudaSuccess, self._current_device()

    def cudaSetDevice(self, device: int) -> Any:
        self.current.device, self.current.context = device, 0
        return (Code.cudaSuccess,)

    def cuInit(self, flags: int) -> Any:
        return (Code.cudaSuccess,)

    def cuDeviceGet(self, index: int) -> Any:
        return Code.cudaSuccess, index

    def cuDevicePrimaryCtxRetain(self, device: int) -> Any:
        return Code.cudaSuccess, device + 1

    def cuCtxGetCurrent(self) -> Any:
        """0: none."""
        return Code.cudaSuccess, getattr(self.current, "context", 0)

    def cuCtxSetCurrent(self, context: int) -> Any:
        self._count("cuCtxSetCurrent")
        self.current.context = context
        return (Code.cudaSuccess,)

    def cudaGetDeviceProperties(self, device: int) -> Any:
        return Code.cudaSuccess, SimpleNamespace(name=b"Pretend", major=9, minor=0, multiProcessorCount=10)

    def cudaRuntimeGetVersion(self) -> Any:
        return Code.cudaSuccess, 12090

    def cudaGetErrorString(self, code: Code) -> Any:
        return Code.cudaSuccess, code.name.encode()

    def cudaGetLastError(self) -> Any:
        return (Code.cudaSuccess,)

    def cudaMemGetInfo(self) -> Any:
        return Code.cudaSuccess, self.total - self.used("device"), self.total

    def cudaMalloc(self, size: int) -> Any:
        return self._allocate(size, "device")

    def cudaMallocManaged(self, size: int, flags: int) -> Any:
        return self._allocate(size, "managed")

    def cudaFree(self, pointer: int) -> Any:
        self._drain_all()
        if pointer:
            self._release(pointer)
        return (Code.cudaSuccess,)

    def cudaHostAlloc(self, size: int, flags: int) -> Any:
        return self._allocate(size, "host")

    def cudaFreeHost(self, pointer: int) -> Any:
        self._release(pointer)
        return (Code.cudaSuccess,)

    def cudaMemPoolProps(self) -> Any:
        return SimpleNamespace(allocType=None, location=SimpleNamespace(type=None, id=None))

    def cudaMemPoolCreate(self, properties: Any) -> Any:
        return Code.cudaSuccess, next(self.ids)

    def cudaMemPoolSetAttribute(self, pool: int, attribute: int, value: Any) -> Any:
        return (Code.cudaSuccess,)

    def cudaMemPoolDestroy(self, pool: int) -> Any:
        return (Code.cudaSuccess,)

    def cudaMallocFromPoolAsync(self, size: int, pool: int, stream: int) -> Any:
        return self._allocate(size, "device")

    def cudaFreeAsync(self, pointer: int, stream: int) -> Any:
        self.submit(int(stream), lambda: self._release(pointer))
        return (Code.cudaSuccess,)

    def cudaPointerGetAttributes(self, pointer: int) -> Any:
        number = {"managed": 3, "device": 2, "host": 1, "": 0}[self._kind(pointer)]
        return Code.cudaSuccess, SimpleNamespace(type=self.cudaMemoryType(number), device=0)

    def _staged(self, source: int, size: int, kind: Any) -> Any:
        """The bytes of pageable memory, which the driver reads before its call returns; ``None`` for memory of ours."""
        if self._kind(source) or kind.name != "cudaMemcpyHostToDevice":
            return None
        return np.frombuffer(ctypes.string_at(source, size), np.uint8)

    def cudaMemcpyAsync(self, target: int, source: int, size: int, kind: Any, stream: int) -> Any:
        self._count(f"copy {kind.name}")
        staged = self._staged(source, size, kind)

        def copy() -> None:
            self.view(target, size)[:] = self.view(source, size) if staged is None else staged

        self.submit(int(stream), copy)
        return (Code.cudaSuccess,)

    def cudaMemcpy2DAsync(
        self, target: int, to: int, source: int, step: int, size: int, count: int, kind: Any, stream: int
    ) -> Any:
        assert step >= size <= to
        self._count(f"copy rows {kind.name}")
        staged = self._staged(source, (count - 1) * step + size, kind)

        def copy() -> None:
            for row in range(count):
                line = self.view(source + row * step, size) if staged is None else staged[row * step :][:size]
                self.view(target + row * to, size)[:] = line

        self.submit(int(stream), copy)
        return (Code.cudaSuccess,)

    def cudaStreamCreateWithFlags(self, flags: int) -> Any:
        assert flags == self.cudaStreamNonBlocking
        handle = next(self.ids)
        self.streams[handle] = deque()
        return Code.cudaSuccess, handle

    def cudaStreamDestroy(self, stream: int) -> Any:
        with self.lock:
            self.drain(int(stream))
            del self.streams[int(stream)]
        return (Code.cudaSuccess,)

    def cudaStreamSynchronize(self, stream: int) -> Any:
        assert int(stream) not in self.capturing, "a capturing stream was synchronized"
        self.drain(int(stream))
        return (Code.cudaSuccess,)

    def cudaDeviceSynchronize(self) -> Any:
        if self.capturing:
            return (Code.cudaErrorStreamCaptureUnsupported,)
        self._count("synchronize device")
        self._drain_all()
        return (Code.cudaSuccess,)

    def cudaEventCreateWithFlags(self, flags: int) -> Any:
        handle = next(self.ids)
        self.events[handle] = Event()
        return Code.cudaSuccess, handle

    def cudaEventDestroy(self, event: int) -> Any:
        # like CUDA, work that waits for it still does
        del self.events[event]
        return (Code.cudaSuccess,)

    def cudaEventRecord(self, handle: int, stream: int) -> Any:
        with self.lock:
            event = self.events[handle]
            event.recorded += 1
            event.stream = int(stream)
            version = event.recorded

            def happen() -> None:
                event.done = max(event.done, version)

            self.submit(int(stream), happen)
        return (Code.cudaSuccess,)

    def cudaStreamWaitEvent(self, stream: int, handle: int, flags: int) -> Any:
        with self.lock:
            event = self.events[handle]
            version, source = event.recorded, event.stream
            if version:

                def wait() -> None:
                    if event.done < version:
                        self.drain(source, lambda: event.done >= version)

                self.submit(int(stream), wait)
        return (Code.cudaSuccess,)

    def cudaEventQuery(self, handle: int) -> Any:
        event = self.events[handle]
        return (Code.cudaSuccess if event.done >= event.recorded else Code.cudaErrorNotReady,)

    def cudaEventSynchronize(self, handle: int) -> Any:
        event = self.events[handle]
        self.drain(event.stream, lambda: event.done >= event.recorded)
        return (Code.cudaSuccess,)

    def cudaStreamBeginCapture(self, stream: int, mode: Any) -> Any:
        self.capturing[int(stream)] = []
        self.capturer[int(stream)] = threading.get_ident()
        return (Code.cudaSuccess,)

    def cudaStreamEndCapture(self, stream: int) -> Any:
        work = self.capturing.pop(int(stream))
        if self.refuse_capture:
            return Code.cudaErrorStreamCaptureUnsupported, None
        handle = next(self.ids)
        self.graphs[handle] = work
        return Code.cudaSuccess, handle

    def cudaGraphInstantiate(self, graph: int, flags: int) -> Any:
        handle = next(self.ids)
        self.graphs[handle] = self.graphs[graph]
        self._count("instantiate")
        return Code.cudaSuccess, handle

    def cudaGraphDestroy(self, graph: int) -> Any:
        del self.graphs[graph]
        return (Code.cudaSuccess,)

    def cudaGraphExecDestroy(self, graph: int) -> Any:
        del self.graphs[graph]
        return (Code.cudaSuccess,)

    def cudaGraphLaunch(self, graph: int, stream: int) -> Any:
        self._count("launch")
        for work in self.graphs[graph]:
            self.submit(int(stream), work)
        return (Code.cudaSuccess,)


@dataclass
class Tensor:
    """``compute`` makes an output from the inputs by name; ``shape`` makes its shape from theirs, -1 where data decides.

    ``bound`` gives the most bytes it can take, where the data decides."""

    name: str
    dtype: str = "float32"
    profiles: Sequence[tuple[Sequence[int], Sequence[int], Sequence[int]]] = ()
    shape: Callable[..., Sequence[int]] | None = None
    compute: Callable[..., Any] | None = None
    bound: Callable[..., int] | None = None
    location: str = "DEVICE"
    format: str = "LINEAR"

    @property
    def declared(self) -> tuple[int, ...]:
        low, _, high = self.profiles[0]
        same = len(self.profiles) == 1
        return tuple(a if a == b and same else -1 for a, b in zip(low, high, strict=True))


@dataclass
class Plan:
    """An engine of the pretend TensorRT. ``sharing``: several contexts may use one profile."""

    inputs: list[Tensor]
    outputs: list[Tensor]
    sharing: bool = True
    host_code: bool = False
    stored: bytes = field(default=b"ftrt pretend plan", repr=False)

    @property
    def tensors(self) -> list[Tensor]:
        return [*self.inputs, *self.outputs]


def install(monkeypatch: Any, gpu: Gpu, plan: Plan, version: str, *, module: str = "tensorrt") -> Any:
    """Put the pretend CUDA and TensorRT where imports find them; returns the TensorRT module."""
    runtime = ModuleType("cuda.bindings.runtime")
    driver = ModuleType("cuda.bindings.driver")
    driver.cuuint64_t = int  # type: ignore[attr-defined]
    for name in dir(gpu):
        found = getattr(gpu, name)
        if name.startswith("cuda"):
            starts = isinstance(found, MethodType) and name not in _START_NOTHING
            setattr(runtime, name, gpu.starting(found) if starts else found)
        elif name.startswith("cu") and name[2].isupper():
            setattr(driver, name, found)
    trt = make_tensorrt(gpu, plan, version, module)
    compilers = [
        ModuleType(name) for name in ("cuda.bindings.nvrtc", "cuda.nvrtc")
    ]  # without functions, as if not installed
    for made in (runtime, driver, trt, *compilers):
        made.__spec__ = ModuleSpec(made.__name__, None)
        monkeypatch.setitem(sys.modules, made.__name__, made)
    return trt


def make_tensorrt(gpu: Gpu, plan: Plan, version: str, name: str) -> Any:
    surface = read_surface(version)
    module = _Strict(name)
    module.__dict__.update(__version__=version, _surface=surface, _version=version)
    for entry, described in surface.items():
        if described["kind"] == "enum":
            module.__dict__[entry] = enum.IntEnum(entry, described["members"], start=0)
    severities = enum.IntEnum("Severity", surface["ILogger"]["members"]["Severity"]["members"], start=0)
    if "lean" in name:  # as seen with tensorrt_lean_bindings 10.16.1
        for missing in ("TensorFormat", "init_libnvinfer_plugins"):
            module.__dict__.pop(missing, None)
            surface.pop(missing, None)
    module.__dict__["ILogger"] = type("ILogger", (), {"Severity": severities})
    module.__dict__["IOutputAllocator"] = type("IOutputAllocator", (), {})
    module.__dict__["IProfiler"] = type("IProfiler", (), {})
    if "lean" not in name:
        module.__dict__["init_libnvinfer_plugins"] = lambda logger, namespace: True
    module.__dict__["Runtime"] = lambda logger: _wrap(module, "Runtime", Runtime(module, gpu, plan, logger))
    return module


class _Strict(ModuleType):
    def __getattr__(self, name: str) -> Any:
        known = name in self.__dict__.get("_surface", {})
        raise (
            AssertionError(
                f"the pretend TensorRT lacks {name}"
                if known
                else f"TensorRT {self.__dict__.get('_version')} has no {name}"
            )
            if not name.startswith("__")
            else AttributeError(name)
        )


def _wrap(module: Any, kind: str, thing: Any) -> Any:
    """The thing behind the members of a class of this version's surface."""
    members = module._surface[kind]["members"]

    class Wrapper:
        def __getattr__(self, name: str) -> Any:
            assert name in members, f"TensorRT {module._version}: {kind} has no {name}"
            value = getattr(thing, name)
            if members[name]["kind"] != "method":
                return value

            def call(*arguments: Any, **keywords: Any) -> Any:
                given = len(arguments) + len(keywords)
                counts = list(_counts(members[name]["signatures"]))
                assert not counts or any(low <= given <= high for low, high in counts), (
                    f"TensorRT {module._version}: {kind}.{name} does not take {arguments} {keywords}"
                )
                return value(*arguments, **keywords)

            return call

        def __setattr__(self, name: str, value: Any) -> None:
            settable = name in members and members[name].get("settable")
            assert settable, f"TensorRT {module._version}: {kind}.{name} cannot be set"
            setattr(thing, name, value)

        def __del__(self) -> None:
            if hasattr(thing, "released"):
                thing.released()

    Wrapper.__name__ = kind
    return Wrapper()


def _counts(signatures: Sequence[str]) -> Iterator[tuple[int, int]]:
    for signature in signatures:
        found = _PARAMETERS.search(signature)
        if found:
            parts = re.split(r",(?![^\[(<]*[\])>])", found["parameters"])
            own = [part for part in parts if part.strip() and not part.strip().startswith("self")]
            yield sum("=" not in part for part in own), len(own)


class Runtime:
    def __init__(self, module: Any, gpu: Gpu, plan: Plan, logger: Any) -> None:
        self.module, self.gpu, self.plan, self.logger = module, gpu, plan, logger
        self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, data: bytes) -> Any:
        severity = self.module.ILogger.Severity.ERROR
        if data != self.plan.stored:
            self.logger.log(
                severity,
                "1: Serialization assertion stdVersionRead == serializationVersion failed. Version tag does not match.",
            )
            return None
        if self.plan.host_code and not self.engine_host_code_allowed:
            self.logger.log(severity, "Plan contains host code but engine_host_code_allowed is not set.")
            return None
        return _wrap(self.module, "ICudaEngine", PretendEngine(self.module, self.gpu, self.plan, self.logger))


class PretendEngine:
    device_memory_size = device_memory_size_v2 = 4096

    def __init__(self, module: Any, gpu: Gpu, plan: Plan, logger: Any) -> None:
        self.module, self.gpu, self.plan, self.logger = module, gpu, plan, logger
        self.in_use: dict[int, int] = {}
        self.num_io_tensors = len(plan.tensors)
        self.num_optimization_profiles = len(plan.inputs[0].profiles)
        self.contexts = 0
        gpu.start()

    def released(self) -> None:
        self.gpu.start()

    def _find(self, name: str) -> Tensor:
        return next(tensor for tensor in self.plan.tensors if tensor.name == name)

    def get_tensor_name(self, index: int) -> str:
        return self.plan.tensors[index].name

    def get_tensor_dtype(self, name: str) -> Any:
        kinds = {
            "float32": "FLOAT",
            "float16": "HALF",
            "int32": "INT32",
            "uint8": "UINT8",
            "bool": "BOOL",
            "bfloat16": "BF16",
            "fp8": "FP8",
        }
        return self.module.DataType[kinds[self._find(name).dtype]]

    def get_tensor_format(self, name: str) -> Any:
        if not hasattr(self.module, "TensorFormat"):
            raise TypeError("Unable to convert function return value to a Python type!")
        return self.module.TensorFormat[self._find(name).format]

    def get_tensor_format_desc(self, name: str) -> str:
        return f"{self._find(name).format} ({name})"

    def get_tensor_shape(self, name: str) -> Sequence[int]:
        tensor = self._find(name)
        return tensor.declared if tensor.profiles else [-1]

    def get_tensor_mode(self, name: str) -> Any:
        return self.module.TensorIOMode["INPUT" if self._find(name) in self.plan.inputs else "OUTPUT"]

    def get_tensor_location(self, name: str) -> Any:
        return self.module.TensorLocation[self._find(name).location]

    def get_tensor_profile_shape(self, name: str, profile: int) -> Any:
        return [list(shape) for shape in self._find(name).profiles[profile]]

    def create_execution_context(self, strategy: Any) -> Any:
        assert strategy == self.module.ExecutionContextAllocationStrategy.USER_MANAGED
        return self.create_execution_context_without_device_memory()

    def create_execution_context_without_device_memory(self) -> Any:
        return _wrap(self.module, "IExecutionContext", Context(self))


class Context:
    def __init__(self, engine: PretendEngine) -> None:
        self.engine, self.gpu = engine, engine.gpu
        self.gpu.start()
        self.active_optimization_profile = -1
        self.device_memory = 0
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.allocators: dict[str, Any] = {}
        self.found: dict[str, tuple[int, ...]] = {}
        self.version = 0
        self.enqueued_with: Any = None
        self.profiler: Any = None
        engine.contexts += 1
        if not engine.in_use.get(0) or engine.plan.sharing:
            self._take(0)

    def released(self) -> None:
        self.gpu.start()
        self.engine.contexts -= 1
        self._leave()

    def _leave(self) -> None:
        if self.active_optimization_profile >= 0:
            self.engine.in_use[self.active_optimization_profile] -= 1

    def _take(self, profile: int) -> None:
        self._leave()
        self.active_optimization_profile = profile
        self.engine.in_use[profile] = self.engine.in_use.get(profile, 0) + 1

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        busy = self.engine.in_use.get(profile) and not self.engine.plan.sharing
        assert not busy or profile == self.active_optimization_profile, "TensorRT 8.6 ends the process here"
        self._take(profile)
        self.version += 1
        return True

    def set_device_memory(self, memory: int, size: int) -> None:
        self.device_memory = memory

    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool:
        assert self.active_optimization_profile >= 0, "no profile"
        low, _, high = self.engine._find(name).profiles[self.active_optimization_profile]
        if any(not a <= size <= b for a, size, b in zip(low, shape, high, strict=True)):
            return False
        self.shapes[name] = tuple(shape)
        self.version += 1
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert isinstance(address, int)
        assert address
        self.addresses[name] = address
        self.version += 1
        return True

    def set_output_allocator(self, name: str, allocator: Any) -> bool:
        self.allocators[name] = allocator
        return True

    def get_max_output_size(self, name: str) -> int:
        bound = self.engine._find(name).bound
        return -1 if bound is None else bound(*(self.shapes[one.name] for one in self.engine.plan.inputs))

    def get_tensor_shape(self, name: str) -> list[int]:
        tensor = self.engine._find(name)
        assert tensor.shape is not None
        if name in self.found:  # like TensorRT after a run
            return list(self.found[name])
        return list(tensor.shape(*(self.shapes[one.name] for one in self.engine.plan.inputs)))

    def execute_async_v3(self, stream: int) -> bool:
        """What runs later is fixed now: shapes and addresses. A graph must not outlive a change of its context."""
        assert self.device_memory, "a context without memory"
        assert stream not in (0, 1, 2), "enqueue on a default stream"
        plan = self.engine.plan
        shapes, addresses = dict(self.shapes), dict(self.addresses)
        captured = stream in self.gpu.capturing
        if captured:
            assert self.enqueued_with == shapes, "captured without a warm-up"
        self.enqueued_with = shapes
        version = self.version

        def read(tensor: Tensor) -> Any:
            dtype, shape = np.dtype(tensor.dtype), shapes[tensor.name]
            size = int(np.prod(shape)) * dtype.itemsize
            if tensor.location == "HOST":
                return np.frombuffer(ctypes.string_at(addresses[tensor.name], size), dtype).reshape(shape)
            return self.gpu.view(addresses[tensor.name], size).view(dtype).reshape(shape)

        def run() -> None:
            assert not captured or self.version == version, "the context of a graph was changed after its capture"
            inputs = [read(tensor) for tensor in plan.inputs]
            for output in plan.outputs:
                result = np.ascontiguousarray(output.compute(*inputs), dtype=output.dtype)  # type: ignore[misc]
                raw = result.reshape(-1).view(np.uint8)
                allocator = self.allocators.get(output.name)
                address = addresses.get(output.name, 0)
                if allocator is not None:
                    address = allocator.reallocate_output(output.name, 0, max(raw.size, 1), 256)
                    allocator.notify_shape(output.name, list(result.shape))
                    self.found[output.name] = result.shape
                    if output.bound is not None:
                        assert raw.size <= output.bound(*shapes.values())
                    if not address:
                        return
                self.gpu.view(address, raw.size)[:] = raw

        if self.profiler is not None:
            assert not captured, "a captured run cannot be profiled"
            self.gpu.submit(stream, run)
            self.gpu.drain(stream)  # TensorRT waits for the times here
            for place, output in enumerate(plan.outputs, 1):
                self.profiler.report_layer_time(f"layer of {output.name}", place * 0.5)
            return True
        if self.allocators:  # TensorRT waits for the data here
            self.gpu.drain(stream)
            run()
        else:
            self.gpu.submit(stream, run)
        return True


def affine_plan(**changes: Any) -> Plan:
    """``output0`` is twice ``images`` plus one, ``sums`` the sum of each sample; batch 1 to 8 and 4x4 to 16x16."""
    images = Tensor("images", profiles=[((1, 3, 4, 4), (2, 3, 8, 8), (8, 3, 16, 16))])
    return Plan(
        [images],
        [
            Tensor("output0", shape=lambda x: x, compute=lambda x: 2 * x + 1),
            Tensor("sums", shape=lambda x: (x[0],), compute=lambda x: x.sum((1, 2, 3))),
        ],
        **changes,
    )
