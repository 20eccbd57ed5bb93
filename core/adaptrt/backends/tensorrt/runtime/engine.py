"""A deserialized engine: its tensors and profiles, and its execution contexts."""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adaptrt.backends.tensorrt.build.builder import load_plugin_libraries, make_logger
from adaptrt.backends.tensorrt.build.log import Severity
from adaptrt.backends.tensorrt.generations import TensorRT, generation_of
from adaptrt.backends.tensorrt.runtime.cuda import Cuda, format_bytes
from adaptrt.backends.tensorrt.runtime.profiles import Profile, ShapeRange, Sizes
from adaptrt.errors import EngineError

_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}


@dataclass(frozen=True)
class EngineTensor:
    """An input or output; ``shape`` has -1 for dynamic axes. ``on_host``: TensorRT reads its values, not only its shape."""

    name: str
    dtype: np.dtype[Any]
    shape: Sizes
    is_input: bool
    on_host: bool

    def bytes_of(self, shape: Sequence[int]) -> int:
        return math.prod(shape) * self.dtype.itemsize


class Engine:
    """A plan on one GPU. Contexts are created one at a time; everything else is read once."""

    def __init__(
        self,
        plan: bytes | memoryview,
        cuda: Cuda,
        tensorrt: TensorRT,
        *,
        name: str,
        built_with: str | None = None,
        allow_host_code: bool = False,
        plugin_libs: Sequence[str] = (),
    ) -> None:
        """``built_with``: the TensorRT version that built it, if a manifest records it."""
        if bytes(plan[4:5]) == b"{":
            raise EngineError(
                f"{name} is not a plain plan: it begins with Ultralytics' header.",
                hint=f"Remove the header: adaptrt engine unwrap {name}",
            )
        self.name = name
        self.cuda = cuda
        self.tensorrt = tensorrt
        trt = tensorrt.trt
        self._logger, self._messages = _shared_logger(trt)
        self._messages.take()
        self._lock = threading.Lock()
        with cuda.current():
            if tensorrt.flavor == "full":  # the lean and dispatch runtimes have no plug-ins
                trt.init_libnvinfer_plugins(self._logger, "")
            load_plugin_libraries(trt, plugin_libs)
            self._runtime = trt.Runtime(self._logger)
            if allow_host_code:
                self._runtime.engine_host_code_allowed = True
            self._engine: Any = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            said = self._messages.take()
            raise EngineError(
                f"{self.tensorrt.title} cannot load {name}: {said[0] if said else 'no reason given'}",
                hint=_load_hint("\n".join(said), self.tensorrt),
            )
        self.tensors = tuple(self._describe(index) for index in range(self._engine.num_io_tensors))
        self.inputs = tuple(tensor for tensor in self.tensors if tensor.is_input)
        self.outputs = tuple(tensor for tensor in self.tensors if not tensor.is_input)
        self.profiles: tuple[Profile, ...] = tuple(
            {tensor.name: self._range(tensor, index) for tensor in self.inputs}
            for index in range(self._engine.num_optimization_profiles)
        )
        self.shares_profiles = self._probe_sharing()
        """Several contexts may use one profile."""
        self._in_use: Counter[int] = Counter()
        self.data_dependent: set[str] = set()
        """Outputs whose shape is unknown before a run. After one, TensorRT reports the shape of that run."""
        self.largest_outputs = self._largest_outputs()
        """Bytes of each output at the maxima of the profiles; 0 where values decide."""
        if self.data_dependent and not self._runs_in_10(built_with, allow_host_code):
            raise EngineError(
                f"{name}: the size of output {min(self.data_dependent)!r} depends on the data, and TensorRT 8, "
                "here or in the plan, reports the size of an earlier run or crashes (seen with 8.6.0).",
                hint="Remove that part (NonZero, NMS) from the graph, or build with TensorRT 10.",
            )

    @property
    def scratch_bytes(self) -> int:
        """Device memory that one running context needs."""
        return int(self._engine.device_memory_size_v2 if self._from_10 else self._engine.device_memory_size)

    def _runs_in_10(self, built_with: str | None, allow_host_code: bool) -> bool:
        """A plan that may contain host code may include the runtime of the version that built it, and run in that."""
        if not allow_host_code:
            return self._from_10
        return (
            self._from_10
            and built_with is not None
            and generation_of(built_with, self.tensorrt.product).generation >= 10
        )

    @property
    def _from_10(self) -> bool:
        return self.tensorrt.generation.generation >= 10

    def reason(self) -> str:
        """TensorRT's error message for the last failed call."""
        said = self._messages.take()
        return said[0] if said else "no reason given"

    def new_context(self, profile: int, stream: int, scratch: int) -> Any | None:
        """A context on a profile that works in ``scratch``; ``None`` where the plan allows one context a profile.

        Contexts that never run at the same time may have the same scratch.
        """
        with self._lock, self.cuda.capturing, self.cuda.current():
            if self._in_use[profile] and not self.shares_profiles:
                return None
            context = self._bare_context()
            if context is None:
                raise EngineError(
                    f"TensorRT cannot create a context for {self.name}: {self.reason()}",
                    hint=f"It requires more than {format_bytes(self.scratch_bytes)} of GPU memory.",
                )
            if not self._select(context, profile, stream):
                del context  # else the traceback keeps it, and TensorRT frees it on another device
                raise EngineError(
                    f"TensorRT rejects profile {profile} of {self.name}: {self.reason()}",
                )
            if self._from_10:
                context.set_device_memory(scratch, self.scratch_bytes)
            else:
                context.device_memory = scratch
            self._in_use[profile] += 1
            return context

    def drop_context(self, profile: int) -> None:
        """Called once for each context that its owner has released."""
        with self._lock:
            self._in_use[profile] -= 1

    def _probe_sharing(self) -> bool:
        """Always true from TensorRT 10 on. Before, a second context gets no profile if the plan does not share profiles;
        requesting a profile in use ends the process (seen with 8.6.0)."""
        if self._from_10:
            return True
        with self.cuda.current():
            first, second = self._bare_context(), self._bare_context()
            shares = first is not None and second is not None and second.active_optimization_profile >= 0
            del first, second  # TensorRT frees them on the current device
        return bool(shares)

    def close(self) -> None:
        """All objects created from the engine must be freed first: TensorRT frees the engine last."""
        with self.cuda.current():
            self._engine = None
            self._runtime = None

    def __del__(self) -> None:
        if hasattr(self, "_runtime"):
            self.close()

    def _largest_outputs(self) -> tuple[int, ...]:
        sizes = [0] * len(self.outputs)
        if any(tensor.on_host for tensor in self.inputs):
            return tuple(sizes)
        stream = self.cuda.new_stream()
        with self.cuda.current():
            context = self._bare_context()
            for index, profile in enumerate(self.profiles):
                if context is None or not self._select(context, index, int(stream)):
                    del context
                    raise EngineError(f"TensorRT rejects profile {index} of {self.name}: {self.reason()}")
                for tensor in self.inputs:
                    context.set_input_shape(tensor.name, profile[tensor.name].max)
                for number, tensor in enumerate(self.outputs):
                    shape = tuple(context.get_tensor_shape(tensor.name))
                    if min(shape, default=0) < 0:
                        self.data_dependent.add(tensor.name)
                    else:
                        sizes[number] = max(sizes[number], tensor.bytes_of(shape))
            del context
        self.cuda.free_stream(stream)
        return tuple(sizes)

    def _bare_context(self) -> Any:
        if self._from_10:
            strategy = self.tensorrt.trt.ExecutionContextAllocationStrategy.USER_MANAGED
            return self._engine.create_execution_context(strategy)
        return self._engine.create_execution_context_without_device_memory()

    def _select(self, context: Any, profile: int, stream: int) -> bool:
        if context.active_optimization_profile == profile:
            return True
        try:
            if not context.set_optimization_profile_async(profile, stream):
                return False
        except RuntimeError:  # the bindings raise where C++ returns false
            return False
        self.cuda.synchronize(stream)
        return True

    def _describe(self, index: int) -> EngineTensor:
        trt, engine = self.tensorrt.trt, self._engine
        name = engine.get_tensor_name(index)
        kind = engine.get_tensor_dtype(name)
        # the lean runtime does not register the format type
        if self.tensorrt.flavor == "full" and engine.get_tensor_format(name) != trt.TensorFormat.LINEAR:
            raise EngineError(
                f"{self.name}: tensor {name!r} has format {engine.get_tensor_format_desc(name)}.",
                hint="adaptrt supports linear inputs and outputs only: build the engine again from the ONNX file.",
            )
        return EngineTensor(
            name,
            self._dtype(name, kind),
            tuple(engine.get_tensor_shape(name)),
            engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT,
            engine.get_tensor_location(name) == trt.TensorLocation.HOST,
        )

    def _dtype(self, name: str, kind: Any) -> np.dtype[Any]:
        if kind.name in _DTYPES:
            return np.dtype(_DTYPES[kind.name])
        if kind.name == "BF16":
            try:
                from ml_dtypes import bfloat16
            except ImportError:
                raise EngineError(
                    f"{self.name}: tensor {name!r} is bfloat16, which numpy does not support.",
                    hint="Install it: pip install ml_dtypes",
                ) from None
            found: np.dtype[Any] = np.dtype(bfloat16)
            return found
        raise EngineError(
            f"{self.name}: tensor {name!r} is {kind.name}, which adaptrt does not support for inputs and outputs.",
            hint="Export the graph with inputs and outputs in float32 or float16.",
        )

    def _range(self, tensor: EngineTensor, profile: int) -> ShapeRange:
        if tensor.on_host or -1 not in tensor.shape:
            return ShapeRange(tensor.shape, tensor.shape, tensor.shape)
        low, opt, high = (tuple(dims) for dims in self._engine.get_tensor_profile_shape(tensor.name, profile))
        return ShapeRange(low, opt, high)


class NoSharingError(EngineError):
    """The plan allows one context per profile, and another lane holds it."""


class Messages:
    """TensorRT's latest error messages, the only source of the reason for a failure."""

    def __init__(self) -> None:
        self._kept: deque[tuple[int, str]] = deque(maxlen=20)
        """With the thread that reported it: that of the call, or a worker of TensorRT."""
        self._lock = threading.Lock()

    def add(self, severity: Severity, message: str) -> None:
        if severity in ("error", "internal error"):
            with self._lock:
                self._kept.append((threading.get_ident(), " ".join(message.split())))

    def take(self) -> list[str]:
        """Messages since the last call, oldest first: the first of a group names the cause. Those of Python's other threads stay."""
        others = {thread.ident for thread in threading.enumerate()} - {threading.get_ident()}
        with self._lock:
            taken = [text for thread, text in self._kept if thread not in others]
            kept = [one for one in self._kept if one[0] in others]
            self._kept.clear()
            self._kept.extend(kept)
        return taken


_loggers: dict[Any, tuple[Any, Messages]] = {}
_making_logger = threading.Lock()


def _shared_logger(trt: Any) -> tuple[Any, Messages]:
    """One logger per TensorRT module: TensorRT keeps the first logger it receives and ignores later ones."""
    with _making_logger:
        if trt not in _loggers:
            messages = Messages()
            _loggers[trt] = (make_logger(trt, messages.add), messages)
        return _loggers[trt]


def _load_hint(text: str, tensorrt: TensorRT) -> str:
    lowered = text.lower()
    if "engine_host_code_allowed" in lowered or "host code" in lowered or "hostcode" in lowered:
        return "It is a version-compatible engine, which carries code that runs on the host: pass allow_host_code=True if you trust it."
    if "version" in lowered or "tag" in lowered or "expecting" in lowered:
        return f"It was built with another TensorRT version than the installed {tensorrt.version}: build it again from the ONNX file (adaptrt build)."
    if "compute" in lowered or "device" in lowered or "capability" in lowered:
        return "It was built on another GPU: build it again here (adaptrt build), or with --hardware-compatible."
    return "The file is damaged or is not a plan: run adaptrt inspect."
