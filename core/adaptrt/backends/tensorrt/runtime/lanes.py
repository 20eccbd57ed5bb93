"""A lane: the resources of one call. Threads that call an engine concurrently each get their own lane."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from adaptrt.backends.tensorrt.runtime.arrays import BorrowedBuffers, DeviceArray, InputView, Loan
from adaptrt.backends.tensorrt.runtime.contexts import BoundContext, ShapePlan
from adaptrt.backends.tensorrt.runtime.cuda import LEGACY_STREAM, PER_THREAD_STREAM
from adaptrt.backends.tensorrt.runtime.engine import Engine, NoSharingError
from adaptrt.backends.tensorrt.runtime.graphs import CaptureError, Graph, GraphCache, Key, fastest
from adaptrt.backends.tensorrt.runtime.host_inputs import send_array
from adaptrt.backends.tensorrt.runtime.image_runs import ImageRuns
from adaptrt.backends.tensorrt.runtime.images import DeviceImages
from adaptrt.backends.tensorrt.runtime.memory import (
    Completion,
    DeviceBuffer,
    DevicePool,
    Events,
    HeldInputs,
    PinnedPool,
    Stream,
    arrays_on_host,
)
from adaptrt.errors import EngineError

Ownership = Literal["owned", "borrowed"]
_DEFAULT_STREAMS = (LEGACY_STREAM, PER_THREAD_STREAM)
_CAPTURES = 3
_Inputs = tuple[InputView, ...]


class Lane:
    """A stream, scratch memory, a context for each profile in use, static buffers and graphs.

    Static buffers are one flat allocation for each tensor, at the maximum over the profiles; an output of a smaller
    shape is the first ``prod(shape)`` elements.
    """

    def __init__(self, engine: Engine, events: Events, pool: DevicePool, pinned: PinnedPool, graphs: int) -> None:
        self.engine, self.cuda, self._events, self._pool, self.pinned = engine, engine.cuda, events, pool, pinned
        self.stream = Stream(engine.cuda)
        self._scratch = DeviceBuffer(engine.cuda, engine.scratch_bytes, f"the engine's activations ({engine.name})")
        self._contexts: dict[int, BoundContext] = {}
        self._device_inputs = [tensor for tensor in engine.inputs if not tensor.on_host]
        self._inputs: list[DeviceBuffer] = []
        self._outputs: list[DeviceBuffer] = []
        self.graphs = GraphCache(graphs, self.wait)
        self._held = HeldInputs()
        self._last: Completion | None = None
        self._borrowed: BorrowedBuffers | None = None
        self._reads_values = len(self._device_inputs) < len(engine.inputs)
        self._image_runs: ImageRuns | None = None
        self.warnings: list[str] = []
        self.bound_context(0)

    def run_host(self, plan: ShapePlan, inputs: _Inputs) -> dict[str, NDArray[Any]]:
        """Takes numpy arrays (or device arrays); returns numpy arrays owned by the caller."""
        with self.cuda.current():
            stream = self.stream.handle
            pointers, shapes, staged = self._start(plan, inputs, stream, owned=False)
            found = arrays_on_host(self.pinned, self.engine.outputs, pointers, shapes, stream)
            self.finished()
            del staged
            return found

    def image_runs(self, images: DeviceImages) -> ImageRuns:
        """Calls on images, in this lane."""
        if self._image_runs is None:
            self._image_runs = ImageRuns(self, images)
        return self._image_runs

    def finished(self) -> None:
        """Nothing of the last call is running."""
        self._held.release()
        self._last = None

    def run_device(
        self, plan: ShapePlan, inputs: _Inputs, given: int | None, end_of_loan: Callable[[], None] | None = None
    ) -> dict[str, DeviceArray]:
        """Returns device arrays, ordered on ``given`` (a stream's address) or on our own stream; the host does not wait.

        With ``end_of_loan`` they are borrowed, and it is called when no references are left; else the caller owns them.
        """
        with self.cuda.current():
            stream = self._run_stream(given)
            if given is not None and given != stream:
                Completion(self._events, given).wait_on(stream)
            pointers, shapes, staged = self._start(plan, inputs, stream, owned=end_of_loan is None)
            completion = Completion(self._events, stream)
            if given is not None and given != stream:
                completion.wait_on(given)
            self._last = completion
            self._held.hold(completion, (inputs, staged))
            loan = None
            if end_of_loan is not None:
                self._borrowed = BorrowedBuffers()
                loan = Loan(self._borrowed, end_of_loan)
            arrays = {}
            for tensor, pointer, shape in zip(self.engine.outputs, pointers, shapes, strict=True):
                holder: Any = loan or staged[tensor.name]
                if loan is None:
                    holder.completion, pointer = completion, holder.pointer
                arrays[tensor.name] = DeviceArray(
                    tensor.name, pointer, shape, tensor.dtype, holder, completion, self.pinned
                )
            return arrays

    def wait(self) -> None:
        """Wait until all work of this lane is done."""
        if self._last is not None:
            self._last.synchronize()
        self.cuda.synchronize(self.stream.handle)
        self._held.release()

    def bound_context(self, profile: int) -> BoundContext:
        """The context of a profile, created on first use."""
        context = self._contexts.get(profile)
        if context is None:
            bare = self.engine.new_context(profile, self.stream.handle, self._scratch.pointer)
            if bare is None:
                raise NoSharingError(f"{self.engine.name} allows one context per profile.")
            context = self._contexts[profile] = BoundContext(self.engine, bare, profile)
        return context

    def drop_context(self, profile: int) -> None:
        """Close the context of a profile, once its work is done; the next call creates another."""
        with self.cuda.current():
            self.wait()
            if profile in self._contexts:
                self._contexts.pop(profile).close()

    def close(self) -> None:
        with self.cuda.current():
            self.wait()
            if self._borrowed is not None:
                self._borrowed.valid = False
            self.graphs.clear()
            for context in self._contexts.values():
                context.close()
            self._contexts.clear()
            for buffer in (*self._inputs, *self._outputs, self._scratch):
                buffer.free()
            self._image_runs = None

    def _run_stream(self, given: int | None) -> int:
        """TensorRT synchronizes the device on each enqueue on a default stream, so our stream runs between two of its events."""
        return self.stream.handle if given is None or given in _DEFAULT_STREAMS else given

    def take_over(self, stream: int) -> None:
        """Scratch and static buffers pass from the last call, and from readers of borrowed outputs, to this one."""
        self._pool.tidy()
        if self._last is not None:
            self._last.wait_on(stream)
        if self._borrowed is not None:
            for reader in self._borrowed.readers - {stream}:
                Completion(self._events, reader).wait_on(stream)
            self._borrowed.valid = False
            self._borrowed = None

    def _start(
        self, plan: ShapePlan, inputs: _Inputs, stream: int, *, owned: bool
    ) -> tuple[tuple[int, ...], list[tuple[int, ...]], dict[str, Any]]:
        """Launch; after an error, no work that uses memory about to be freed is left running."""
        try:
            self.take_over(stream)
            return self._launch(plan, inputs, stream, owned=owned)
        except BaseException:
            self.cuda.synchronize(stream)
            self.cuda.synchronize(self.stream.handle)
            raise

    def _launch(
        self, plan: ShapePlan, inputs: _Inputs, stream: int, *, owned: bool
    ) -> tuple[tuple[int, ...], list[tuple[int, ...]], dict[str, Any]]:
        """Run; returns the addresses of the outputs, their shapes, and the objects that must live until the run is done."""
        context = self.bound_context(plan.profile)
        kept: dict[str, Any] = {}
        if self._reads_values:
            pairs = zip(self.engine.inputs, inputs, strict=True)
            kept[""] = [np.ascontiguousarray(view.owner) for tensor, view in pairs if tensor.on_host]
        if not plan.outputs:
            context.take_shapes(plan, kept.get("", ()))
        addresses = self._place(inputs, stream, kept)
        plan.calls += 1
        graph = None if plan.no_graph else self._graph_for(plan, addresses, stream)
        if graph is not None:
            graph.launch(stream)
            return self.from_static(plan, stream, kept, owned)
        return self.enqueue(context, plan, addresses, stream, kept, owned)

    def _place(self, inputs: _Inputs, stream: int, kept: dict[str, Any]) -> tuple[int, ...]:
        """Device addresses of the inputs; host inputs are copied into the static buffers."""
        addresses = []
        if self._reads_values:
            pairs = zip(self.engine.inputs, inputs, strict=True)
            inputs = tuple(view for tensor, view in pairs if not tensor.on_host)
        for index, (tensor, view) in enumerate(zip(self._device_inputs, inputs, strict=True)):
            if view.pointer:
                addresses.append(view.pointer)
                continue
            size = tensor.bytes_of(view.shape)
            pointer, block = self._static_inputs()[index].pointer, self.pinned.block_of(view.owner)
            if block is None:
                block = self.pinned.allocate(size)
                send_array(self.cuda, view.owner, block, pointer, stream)
            elif size:
                self.cuda.copy(pointer, block.pointer, size, self.cuda.to_device, stream)
            kept[f"input {index}"] = block
            addresses.append(pointer)
        return tuple(addresses)

    def _graph_for(self, plan: ShapePlan, addresses: tuple[int, ...], stream: int) -> Graph | None:
        """The graph to launch, its inputs in place; ``None``: enqueue."""
        key = (plan, addresses)
        graph = self.graphs.find(key)
        if graph is not None:
            return graph
        try:
            if self.graphs.due(key, copied=bool(plan.copies)):
                return self.captured(plan, addresses, stream)
            if plan.calls > 1 and plan.copies is None and self.graphs.limit:
                self._measure(plan, addresses, stream)
            if plan.copies:
                static = self.static_addresses()
                graph = self.graphs.find((plan, static)) or self.captured(plan, static, stream)
                self._copy_in(plan, addresses, stream)
                return graph
        except CaptureError as error:
            self.count_failed_capture(plan, error)
        return None

    def count_failed_capture(self, plan: ShapePlan, error: CaptureError) -> None:
        """A capture fails if another thread synchronizes the device; after some, calls run without a graph."""
        plan.failed_captures += 1
        if plan.failed_captures >= _CAPTURES:
            plan.no_graph = error.message
            self.warnings.append(f"{self.engine.name} runs without CUDA graphs: {error.message}")

    def captured(
        self,
        plan: ShapePlan,
        addresses: tuple[int, ...],
        stream: int,
        key: Key | None = None,
        work: Callable[[BoundContext, int], None] | None = None,
    ) -> Graph | None:
        """A graph with a separate context: later calls with other shapes or addresses must not affect it."""
        bare = self.engine.new_context(plan.profile, self.stream.handle, self._scratch.pointer)
        if bare is None:
            self.graphs.limit = 0
            name = self.engine.name
            self.warnings.append(f"{name} was built without profile sharing: one context per profile, no CUDA graphs.")
            return None
        context, own = BoundContext(self.engine, bare, plan.profile), self.stream.handle
        del bare  # else a traceback keeps it, and TensorRT frees it on another device
        try:
            context.take_shapes(plan)
            context.bind(addresses, tuple(buffer.pointer for buffer in self.static_outputs()))
            # TensorRT's setup on the first run cannot be captured
            if stream != own:
                Completion(self._events, stream).wait_on(own)
            context.enqueue(own)
            self.cuda.synchronize(own)
            graph = Graph(self.cuda, context, own, work)
        except BaseException:
            context.close()
            raise
        self.graphs.keep(key or (plan, addresses), graph)
        return graph

    def _measure(self, plan: ShapePlan, addresses: tuple[int, ...], stream: int) -> None:
        """Once per shape: is a copy into static inputs plus a replay faster than an enqueue?"""
        static = self.static_addresses()
        if addresses == static:
            return
        graph = self.captured(plan, static, stream)
        if graph is None:
            plan.copies = False
            return
        context = self.bound_context(plan.profile)
        context.take_shapes(plan)
        outputs = tuple(buffer.pointer for buffer in self.static_outputs())

        def copy_and_replay() -> None:
            self._copy_in(plan, addresses, stream)
            graph.launch(stream)
            self.cuda.synchronize(stream)

        def enqueue() -> None:
            context.bind(static, outputs)
            context.bind(addresses, outputs)
            context.enqueue(stream)
            self.cuda.synchronize(stream)

        self.cuda.synchronize(stream)
        runs: dict[str, Callable[[], None]] = {"copy": copy_and_replay, "enqueue": enqueue}
        plan.copies = fastest(runs, time.perf_counter) == "copy"

    def _copy_in(self, plan: ShapePlan, addresses: tuple[int, ...], stream: int) -> None:
        sizes = [
            tensor.bytes_of(shape)
            for tensor, shape in zip(self.engine.inputs, plan.shapes, strict=True)
            if not tensor.on_host
        ]
        for buffer, address, size in zip(self._static_inputs(), addresses, sizes, strict=True):
            if address != buffer.pointer and size:
                self.cuda.copy(buffer.pointer, address, size, self.cuda.on_device, stream)

    def from_static(
        self, plan: ShapePlan, stream: int, kept: dict[str, Any], owned: bool
    ) -> tuple[tuple[int, ...], list[tuple[int, ...]], dict[str, Any]]:
        pointers = tuple(buffer.pointer for buffer in self.static_outputs())
        shapes = [shape or () for shape in plan.outputs]
        if owned:
            self._copy_out(pointers, shapes, stream, kept)
        return pointers, shapes, kept

    def enqueue(
        self,
        context: BoundContext,
        plan: ShapePlan,
        addresses: tuple[int, ...],
        stream: int,
        kept: dict[str, Any],
        owned: bool,
    ) -> tuple[tuple[int, ...], list[tuple[int, ...]], dict[str, Any]]:
        engine = self.engine
        context.take_shapes(plan, kept.get("", ()))
        allocators: dict[int, Any] = {}
        pointers: list[int] = []
        for index, (tensor, shape) in enumerate(zip(engine.outputs, plan.outputs, strict=True)):
            if shape is None:
                allocators[index] = context.allocator(tensor.name)
                pointers.append(0)
            elif owned:
                block = self._pool.allocate(tensor.bytes_of(shape), stream, f"output {tensor.name}")
                kept[tensor.name] = block
                pointers.append(block.pointer)
            else:
                pointers.append(self.static_outputs(index, tensor.bytes_of(shape))[index].pointer)
        context.bind(addresses, tuple(pointers))
        context.enqueue(stream)
        shapes = [shape or () for shape in plan.outputs]
        for index, allocator in allocators.items():
            if allocator.problem is not None:
                problem, allocator.problem = allocator.problem, None
                raise problem
            shapes[index] = allocator.shape
            pointers[index] = allocator.buffer.pointer if allocator.buffer else 0
            needed = engine.outputs[index].bytes_of(allocator.shape)
            if needed > (allocator.buffer.size if allocator.buffer else 0):
                raise EngineError(f"TensorRT requested too little memory for {engine.outputs[index].name}.")
        if owned and allocators:
            self._copy_out(tuple(pointers), shapes, stream, kept, only=set(allocators))
        return tuple(pointers), shapes, kept

    def _copy_out(
        self,
        pointers: tuple[int, ...],
        shapes: list[tuple[int, ...]],
        stream: int,
        kept: dict[str, Any],
        only: set[int] | None = None,
    ) -> None:
        """Copy into memory owned by the caller."""
        for index, tensor in enumerate(self.engine.outputs):
            if only is not None and index not in only:
                continue
            size = tensor.bytes_of(shapes[index])
            block = self._pool.allocate(size, stream, f"output {tensor.name}")
            if size:
                self.cuda.copy(block.pointer, pointers[index], size, self.cuda.on_device, stream)
            kept[tensor.name] = block

    def _static_inputs(self) -> list[DeviceBuffer]:
        if not self._inputs:
            for tensor in self._device_inputs:
                largest = max(tensor.bytes_of(profile[tensor.name].max) for profile in self.engine.profiles)
                self._inputs.append(DeviceBuffer(self.cuda, largest, f"input {tensor.name}"))
        return self._inputs

    def static_addresses(self) -> tuple[int, ...]:
        return tuple(buffer.pointer for buffer in self._static_inputs())

    def static_outputs(self, index: int = 0, needed: int = 0) -> list[DeviceBuffer]:
        """One per output; if values on the host determine its size, it grows on demand."""
        if not self._outputs:
            for tensor, size in zip(self.engine.outputs, self.engine.largest_outputs, strict=True):
                self._outputs.append(DeviceBuffer(self.cuda, size, f"output {tensor.name}"))
        if self._outputs[index].size < needed:
            self.wait()
            self._outputs[index].free()
            self._outputs[index] = DeviceBuffer(self.cuda, needed, f"output {self.engine.outputs[index].name}")
        return self._outputs
