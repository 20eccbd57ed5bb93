"""One lane's calls on images: preprocessing, the engine and what brings its outputs to the host, as one CUDA graph."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptrt.backends.tensorrt.runtime.boxes import BoxRows, Half, filters
from adaptrt.backends.tensorrt.runtime.contexts import BoundContext, ShapePlan
from adaptrt.backends.tensorrt.runtime.graphs import CaptureError, Graph, Key
from adaptrt.backends.tensorrt.runtime.image_batch import ImageBatch
from adaptrt.backends.tensorrt.runtime.images import DeviceImages
from adaptrt.backends.tensorrt.runtime.memory import DeviceBuffer, SmallOutputs, copies_to_host
from adaptrt.backends.tensorrt.runtime.placed_images import ImageForm
from adaptrt.specs.layouts import BoxFilter

if TYPE_CHECKING:
    from adaptrt.backends.tensorrt.runtime.lanes import Lane

_SMALL = 1 << 20  # bytes of outputs that a graph copies to the host; larger ones are not copied twice

_IMAGES = -1  # no address: what the keys of their graphs begin with
_PLANS = 8  # whose rows have memory

Outputs = dict[str, NDArray[Any]]
Read = Callable[[], Outputs]
"""The outputs, once the work of a call is done."""
Finish = Callable[[], tuple[Outputs, "NDArray[np.float32] | None"]]
"""Waits for a call; its outputs, or else its ranked boxes."""


class _Rows(NamedTuple):
    """What finds the boxes of one plan, for a filter and an address of its limits; ``rows`` is ``None`` if none can."""

    boxes: BoxFilter
    limits: int
    rows: BoxRows | None
    number: int


class _Replay(NamedTuple):
    """A call whose graph the next call with the same memory launches again."""

    plan: ShapePlan
    form: ImageForm
    boxes: BoxFilter | None
    base: int
    limits: int
    key: Key
    read: Read
    rows: BoxRows | None


class ImageRuns:
    """The memory for images, small outputs and rows of boxes of a lane."""

    def __init__(self, lane: Lane, images: DeviceImages) -> None:
        self._lane, self._images = lane, images
        self._memory: DeviceBuffer | None = None
        self._small: SmallOutputs | None = None
        self._rows: dict[ShapePlan, _Rows] = {}
        self._wide: dict[str, DeviceBuffer] = {}
        self._number = 0
        self._forms: dict[ImageForm, int] = {}
        self._latest: _Replay | None = None

    def start(self, plan: ShapePlan, batch: ImageBatch, boxes: BoxFilter | None) -> Finish:
        """Launch a call. The function returned waits for it, also after an error, and gives the outputs, or else the ranked boxes."""
        lane = self._lane
        stream = lane.stream.handle
        with lane.cuda.current():
            try:
                lane.take_over(stream)
                base = self._memory_of(batch.device_bytes)
                limits = base + batch.limit_boxes(boxes) if boxes is not None else 0
                again = self._same_graph(plan, batch.form, boxes, base, limits)
                batch.send(base, stream)
                if again is not None:
                    plan.calls += 1
                    again.launch(stream)
                    assert self._latest is not None
                    read, rows = self._latest.read, self._latest.rows
                else:
                    read, rows = self._launch(plan, batch, base, stream, boxes, limits)
            except BaseException:
                lane.cuda.synchronize(stream)
                raise
        return partial(self._finish, read, batch, rows)

    def _finish(
        self, read: Read, batch: ImageBatch, rows: BoxRows | None
    ) -> tuple[Outputs, NDArray[np.float32] | None]:
        lane = self._lane
        with lane.cuda.current():
            lane.cuda.synchronize(lane.stream.handle)
            batch.release()
            ranked = rows.ranked() if rows is not None else None
            found = read() if ranked is None else {}
            lane.finished()
        return found, ranked

    def _same_graph(
        self, plan: ShapePlan, form: ImageForm, boxes: BoxFilter | None, base: int, limits: int
    ) -> Graph | None:
        """That of the latest call, if this one uses the same memory."""
        latest = self._latest
        if latest is None or latest.plan is not plan or latest[1:5] != (form, boxes, base, limits):
            return None
        return self._lane.graphs.find(latest.key)

    def _launch(
        self, plan: ShapePlan, batch: ImageBatch, base: int, stream: int, boxes: BoxFilter | None, limits: int
    ) -> tuple[Read, BoxRows | None]:
        lane, outputs, form = self._lane, self._lane.engine.outputs, batch.form
        static, context = lane.static_addresses(), lane.bound_context(plan.profile)
        if not plan.outputs:
            context.take_shapes(plan)
        small = self._small_outputs(plan)
        found = self._rows_of(plan, boxes, limits) if boxes is not None and small is None else None
        rows = None if found is None else found.rows

        def work(context: BoundContext, stream: int) -> None:
            self._images.launch(form, base, static[0], stream)
            context.enqueue(stream)
            if small is not None:
                self._copy_small(plan, small, stream)
            elif rows is not None:
                rows.launch(stream)

        plan.calls += 1
        number = self._forms.setdefault(form, len(self._forms))
        key = (plan, (_IMAGES, number, 0 if found is None else found.number, base, *static))
        graph = None if plan.no_graph else self._graph(plan, work, key, static, stream)
        if graph is not None:
            graph.launch(stream)
            if small is not None or (rows is not None and rows.is_all):
                read = partial(rows.read, stream) if rows is not None else partial(small.copies, outputs, plan.outputs)  # type: ignore
                self._latest = _Replay(plan, form, boxes, base, limits, key, read, rows)
                return read, rows
            pointers, shapes, _ = lane.from_static(plan, stream, {}, owned=False)
        else:
            self._images.launch(form, base, static[0], stream)
            pointers, shapes, _ = lane.enqueue(context, plan, static, stream, {}, owned=False)
            if rows is not None:
                rows.launch(stream)
        if rows is not None:
            return self._reading(rows, pointers, shapes, stream), rows
        return copies_to_host(lane.pinned, outputs, pointers, shapes, stream), None

    def _reading(self, rows: BoxRows, pointers: tuple[int, ...], shapes: list[tuple[int, ...]], stream: int) -> Read:
        """The rows of boxes, and whole outputs that are not of boxes, such as prototypes of masks."""
        outputs = self._lane.engine.outputs
        whole = [index for index, tensor in enumerate(outputs) if tensor.name not in rows.names]
        if not whole:
            return partial(rows.read, stream)
        rest = copies_to_host(
            self._lane.pinned,
            [outputs[index] for index in whole],
            [pointers[index] for index in whole],
            [shapes[index] for index in whole],
            stream,
        )

        def read() -> dict[str, NDArray[Any]]:
            found = {**rows.read(stream), **rest()}
            return {tensor.name: found[tensor.name] for tensor in outputs}

        return read

    def _copy_small(self, plan: ShapePlan, small: SmallOutputs, stream: int) -> None:
        lane = self._lane
        buffers = lane.static_outputs()
        for tensor, shape, buffer, offset in zip(
            lane.engine.outputs, plan.outputs, buffers, small.offsets, strict=True
        ):
            size = tensor.bytes_of(shape or ())
            lane.cuda.copy(small.block.pointer + offset, buffer.pointer, size, lane.cuda.to_host, stream)

    def _rows_of(self, plan: ShapePlan, boxes: BoxFilter, limits: int) -> _Rows:
        found = self._rows.get(plan)
        if found is not None and found.limits == limits and _same_kernels(found.boxes, boxes):
            return found
        lane, tensors = self._lane, self._lane.engine.outputs
        rows = None
        if not plan.data_dependent:
            shapes = {tensor.name: shape or () for tensor, shape in zip(tensors, plan.outputs, strict=True)}
            alike = all(shape[:1] == plan.shapes[0][:1] for shape in shapes.values())
            if alike and filters(boxes, shapes, {tensor.name: tensor.dtype for tensor in tensors}):
                pointers = {
                    tensor.name: lane.static_outputs(index, tensor.bytes_of(shapes[tensor.name]))[index].pointer
                    for index, tensor in enumerate(tensors)
                }
                halves = self._widened(boxes, pointers, shapes)
                rows = BoxRows(self._images.kernels, lane.pinned, boxes, pointers, shapes, limits, halves)
        self._rows.pop(plan, None)
        if len(self._rows) >= _PLANS:
            self._rows.pop(next(iter(self._rows)))
        self._number += 1
        found = self._rows[plan] = _Rows(boxes, limits, rows, self._number)
        return found

    def _widened(self, boxes: BoxFilter, pointers: dict[str, int], shapes: dict[str, tuple[int, ...]]) -> list[Half]:
        """Let the pointers of boxes in half precision be those of memory for their float32 numbers, one for all calls of the lane."""
        halves = []
        for index, tensor in enumerate(self._lane.engine.outputs):
            name = tensor.name
            if tensor.dtype != np.float16 or all(part.output != name for part in boxes.layout.parts):
                continue
            if name not in self._wide:
                size = 2 * self._lane.engine.largest_outputs[index]
                self._wide[name] = DeviceBuffer(self._lane.cuda, size, f"output {name} in float32")
            halves.append(Half(pointers[name], self._wide[name].pointer, math.prod(shapes[name])))
            pointers[name] = self._wide[name].pointer
        return halves

    def _graph(
        self,
        plan: ShapePlan,
        work: Callable[[BoundContext, int], None],
        key: Key,
        static: tuple[int, ...],
        stream: int,
    ) -> Graph | None:
        """The graph of ``work``, captured when its ``key`` repeats; ``None``: enqueue."""
        lane = self._lane
        graph = lane.graphs.find(key)
        if graph is not None or not lane.graphs.due(key):
            return graph
        try:
            return lane.captured(plan, static, stream, key, work)
        except CaptureError as error:
            lane.count_failed_capture(plan, error)
            return None

    def _memory_of(self, size: int) -> int:
        """For the images of one call; it grows in powers of two, so that graphs seldom lose their addresses."""
        if self._memory is None or self._memory.size < size:
            self._lane.wait()
            self._lane.graphs.forget(_IMAGES)
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


def _same_kernels(one: BoxFilter, other: BoxFilter) -> bool:
    """Whether two filters differ at most in their limits, which are data."""
    if one is other:
        return True
    return (one.iou is None) == (other.iou is None) and one.offset == other.offset and one.layout == other.layout
