"""One lane's calls on images: preprocessing, the engine and the copies of small outputs, in one CUDA graph once shapes repeat."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from adaptrt.backends.tensorrt.runtime.boxes import BoxRows, filters
from adaptrt.backends.tensorrt.runtime.contexts import BoundContext, ShapePlan
from adaptrt.backends.tensorrt.runtime.graphs import CaptureError, Graph
from adaptrt.backends.tensorrt.runtime.images import DeviceImages, ImageBatch
from adaptrt.backends.tensorrt.runtime.memory import DeviceBuffer, SmallOutputs, arrays_on_host
from adaptrt.specs.layouts import BoxFilter

if TYPE_CHECKING:
    from adaptrt.backends.tensorrt.runtime.lanes import Lane

_SMALL = 1 << 20  # bytes of outputs that a graph copies to the host; larger ones are not copied twice


class ImageRuns:
    """The memory for images, small outputs and rows of boxes of a lane."""

    def __init__(self, lane: Lane, images: DeviceImages) -> None:
        self._lane, self._images = lane, images
        self._memory: DeviceBuffer | None = None
        self._small: SmallOutputs | None = None
        self._rows = BoxRows(lane.cuda, lane.pinned)

    def run(self, plan: ShapePlan, batch: ImageBatch, boxes: BoxFilter | None) -> dict[str, NDArray[Any]]:
        """The outputs; waits for the GPU, also after an error."""
        lane = self._lane
        stream = lane.stream.handle
        with lane.cuda.current():
            try:
                lane.take_over(stream)
                base = self._memory_of(batch.device_bytes)
                batch.send(base, stream)
                found = self._run(plan, batch, base, stream, boxes)
            except BaseException:
                lane.cuda.synchronize(stream)
                raise
            lane.finished()
            return found

    def _run(
        self, plan: ShapePlan, batch: ImageBatch, base: int, stream: int, boxes: BoxFilter | None
    ) -> dict[str, NDArray[Any]]:
        lane, outputs = self._lane, self._lane.engine.outputs
        static, context = lane.static_addresses(), lane.bound_context(plan.profile)
        if not plan.outputs:
            context.take_shapes(plan)
        small = self._small_outputs(plan)

        def work(context: BoundContext, stream: int) -> None:
            self._images.launch(batch.form, base, static[0], stream)
            context.enqueue(stream)
            if small is not None:
                buffers = lane.static_outputs()
                for tensor, shape, buffer, offset in zip(outputs, plan.outputs, buffers, small.offsets, strict=True):
                    size = tensor.bytes_of(shape or ())
                    lane.cuda.copy(small.block.pointer + offset, buffer.pointer, size, lane.cuda.to_host, stream)

        plan.calls += 1
        graph = None if plan.no_graph else self._graph(plan, work, (base, *static), stream)
        if graph is None:
            self._images.launch(batch.form, base, static[0], stream)
            pointers, shapes, _ = lane.enqueue(context, plan, static, stream, {}, owned=False)
        else:
            graph.launch(stream)
            pointers, shapes, _ = lane.from_static(plan, stream, {}, owned=False)
            if small is not None:
                lane.cuda.synchronize(stream)
                return small.copies(outputs, shapes)
        names = [tensor.name for tensor in outputs]
        by_name = dict(zip(names, shapes, strict=True))
        if boxes is not None and filters(boxes, by_name, {tensor.name: tensor.dtype for tensor in outputs}):
            addresses = dict(zip(names, pointers, strict=True))
            return self._rows.read(self._images.kernels, boxes, addresses, by_name, stream)
        return arrays_on_host(lane.pinned, outputs, pointers, shapes, stream)

    def _graph(
        self, plan: ShapePlan, work: Callable[[BoundContext, int], None], fixed: tuple[int, ...], stream: int
    ) -> Graph | None:
        """The graph of ``work`` with these addresses, captured when they repeat; ``None``: enqueue."""
        lane, key = self._lane, (plan, (-1, *fixed))  # never the key of a graph of the engine alone
        graph = lane.graphs.find(key)
        if graph is not None or not lane.graphs.due(key):
            return graph
        try:
            return lane.captured(plan, fixed[1:], stream, key, work)
        except CaptureError as error:
            lane.count_failed_capture(plan, error)
            return None

    def _memory_of(self, size: int) -> int:
        """For the images of one call; it grows in powers of two, so that graphs seldom lose their addresses."""
        if self._memory is None or self._memory.size < size:
            self._lane.wait()
            self._memory = None
            self._memory = DeviceBuffer(self._lane.cuda, 1 << (size - 1).bit_length(), "images")
        return self._memory.pointer

    def _small_outputs(self, plan: ShapePlan) -> SmallOutputs | None:
        """Host memory that a graph copies all outputs to; ``None`` if they are large, or of unknown size."""
        largest = self._lane.engine.largest_outputs
        if plan.data_dependent or not all(largest) or sum(largest) > _SMALL:
            return None
        if self._small is None:
            self._small = SmallOutputs(self._lane.pinned, largest)
        return self._small
