"""One execution context with its bindings, and the allocator for outputs whose size depends on the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from adaptrt.backends.tensorrt.runtime.engine import Engine
from adaptrt.backends.tensorrt.runtime.memory import DeviceBuffer
from adaptrt.backends.tensorrt.runtime.profiles import Sizes, choose_profile, format_sizes
from adaptrt.errors import EngineError, ShapeError

_RESERVED = 1 << 30


@dataclass(eq=False, slots=True)
class ShapePlan:
    """Derived from the shapes of the inputs, in the engine's order; computed once.

    ``host_values`` are those of inputs that TensorRT reads on the host. An output's shape is ``None`` if it depends on
    the data. ``copies``: for new addresses, whether to copy into static inputs and replay (else enqueue).
    """

    profile: int
    shapes: tuple[Sizes, ...]
    host_values: tuple[bytes, ...] = ()
    outputs: tuple[Sizes | None, ...] = ()
    calls: int = 0
    copies: bool | None = None
    no_graph: str | None = None
    failed_captures: int = 0

    @property
    def data_dependent(self) -> bool:
        return None in self.outputs


def new_plan(engine: Engine, shapes: tuple[Sizes, ...], host_values: tuple[bytes, ...]) -> ShapePlan:
    """The tightest profile for these shapes; a ``ShapeError`` if none fits."""
    named = {tensor.name: shape for tensor, shape in zip(engine.inputs, shapes, strict=True)}
    plan = ShapePlan(choose_profile(engine.profiles, named), shapes, host_values)
    if host_values:
        plan.no_graph = "TensorRT reads an input on the host"
    return plan


@dataclass(eq=False)
class BoundContext:
    """A context with its current shapes and addresses; only changes are set."""

    engine: Engine
    context: Any
    profile: int
    _plan: ShapePlan | None = None
    _addresses: tuple[int, ...] = ()
    _allocators: dict[str, Any] = field(default_factory=dict)

    def take_shapes(self, plan: ShapePlan, host_arrays: Sequence[Any] = ()) -> None:
        """Set the input shapes; afterwards ``plan.outputs`` is known."""
        if plan is self._plan and not plan.host_values:
            return
        host = iter(host_arrays)
        for tensor, shape in zip(self.engine.inputs, plan.shapes, strict=True):
            if tensor.on_host:
                self.context.set_tensor_address(tensor.name, next(host).__array_interface__["data"][0])
            if not self.context.set_input_shape(tensor.name, shape):
                raise ShapeError(
                    f"TensorRT rejects {tensor.name} {format_sizes(shape)}: {self.engine.reason()}",
                    hint="The shape is within the profile's limits, but the network does not support it: try the profile's min, opt or max.",
                )
        self._plan = plan
        if not plan.outputs:
            unknown = self.engine.data_dependent
            found = {tensor.name: tuple(self.context.get_tensor_shape(tensor.name)) for tensor in self.engine.outputs}
            unknown |= {name for name, shape in found.items() if min(shape, default=0) < 0}
            plan.outputs = tuple(None if name in unknown else shape for name, shape in found.items())
            if plan.data_dependent:
                plan.no_graph = "the shape of an output depends on the data"

    def bind(self, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> None:
        """Device addresses, in the engine's order; an output with an allocator has address 0."""
        addresses = inputs + outputs
        if addresses == self._addresses:
            return
        before = self._addresses or (None,) * len(addresses)
        self._addresses = ()
        tensors = [*(tensor for tensor in self.engine.inputs if not tensor.on_host), *self.engine.outputs]
        for tensor, address, old in zip(tensors, addresses, before, strict=True):
            if address and address != old and not self.context.set_tensor_address(tensor.name, address):
                raise EngineError(f"TensorRT rejects the memory for {tensor.name}: {self.engine.reason()}")
        self._addresses = addresses

    def allocator(self, name: str) -> Any:
        """The allocator of an output whose size depends on the data, the shapes set; after a run it has ``buffer`` and
        ``shape``."""
        if name not in self._allocators:
            allocator = _output_allocator(self.engine)
            if not self.context.set_output_allocator(name, allocator):
                raise EngineError(f"TensorRT rejects the output allocator for {name}: {self.engine.reason()}")
            self._allocators[name] = allocator
        allocator = self._allocators[name]
        allocator.reserve(name, self.context.get_max_output_size(name))
        return allocator

    def enqueue(self, stream: int) -> None:
        if not self.context.execute_async_v3(stream):
            raise EngineError(
                f"TensorRT could not run {self.engine.name}: {self.engine.reason()}",
                hint="If the GPU ran out of memory, reduce the batch size; otherwise, build the engine again.",
            )

    def close(self) -> None:
        if self.context is not None:
            self._free()
            self._allocators.clear()
            self.engine.drop_context(self.profile)

    def _free(self) -> None:
        with self.engine.cuda.current():
            self.context = None

    def __del__(self) -> None:
        self._free()


def _output_allocator(engine: Engine) -> Any:
    """TensorRT requests memory from it during a run, and reports the shape at the end."""
    base = engine.tensorrt.trt.IOutputAllocator

    class Allocator(base):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            base.__init__(self)
            self.buffer: DeviceBuffer | None = None
            self.shape: Sizes = ()
            self.problem: EngineError | None = None

        def reserve(self, name: str, size: int) -> None:
            """Reserve memory for the largest output, if TensorRT reports a reasonable bound: avoids reallocation."""
            if 0 < size <= _RESERVED:
                self._grow(name, size)

        def reallocate_output(self, tensor_name: str, _memory: int, size: int, _alignment: int) -> int:
            return self._grow(tensor_name, size)

        def reallocate_output_async(
            self, tensor_name: str, _memory: int, size: int, _alignment: int, _stream: int
        ) -> int:  # from 10 on
            return self._grow(tensor_name, size)

        def notify_shape(self, _tensor_name: str, shape: Any) -> None:
            self.shape = tuple(shape)

        def _grow(self, name: str, size: int) -> int:
            if self.buffer is None or self.buffer.size < size:
                try:
                    self.buffer = DeviceBuffer(engine.cuda, size, f"output {name}")
                except EngineError as error:  # exceptions must not propagate through TensorRT: reported after the run
                    self.problem = error
                    return 0
            return self.buffer.pointer

    return Allocator()
