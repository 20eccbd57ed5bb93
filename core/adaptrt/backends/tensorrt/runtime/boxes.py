"""Copies only the boxes above a score from the device: a detector's raw outputs are megabytes, of which a decoder uses a few rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptrt.backends.tensorrt.runtime.compiled import Argument, Kernels, integer, long, pointer, single
from adaptrt.backends.tensorrt.runtime.cuda import Cuda
from adaptrt.backends.tensorrt.runtime.memory import DeviceBuffer, PinnedPool
from adaptrt.specs.layouts import BoxFilter, Part

Shapes = Mapping[str, tuple[int, ...]]
_THREADS = 256
_WORTHWHILE = 1 << 16  # bytes of outputs: below, a plain copy takes as long
_SLACK = 1 - 2.0**-20  # the decoder compares again


def filters(boxes: BoxFilter, shapes: Shapes, types: Mapping[str, np.dtype[Any]]) -> bool:
    """Whether a filter applies to these outputs: all of them are float32 [B, N, C] or [B, C, N] and have the same boxes."""
    parts = boxes.layout.parts
    if {part.output for part in parts} != set(shapes) or any(types[name] != np.float32 for name in shapes):
        return False
    if any(len(shape) != 3 for shape in shapes.values()):
        return False
    counts = {(shapes[part.output][0], shapes[part.output][2 if part.channels_first else 1]) for part in parts}
    channels_first = {part.output: part.channels_first for part in parts}
    same = all(channels_first[part.output] == part.channels_first for part in parts)
    return len(counts) == 1 and same and 4 * sum(map(math.prod, shapes.values())) > _WORTHWHILE


class BoxRows:
    """The device memory in which one lane collects rows."""

    def __init__(self, cuda: Cuda, pinned: PinnedPool) -> None:
        self._cuda, self._pinned = cuda, pinned
        self._buffers: dict[str, DeviceBuffer] = {}

    def read(
        self, kernels: Kernels, boxes: BoxFilter, pointers: Mapping[str, int], shapes: Shapes, stream: int
    ) -> dict[str, NDArray[Any]]:
        """Outputs with only the boxes whose score is above the limit, in their order; images with fewer are filled with zeros."""
        layout = boxes.layout
        images, count = _counts(layout.scores, shapes[layout.scores.output])
        counts = self._buffer("counts", 4 * images)
        found = self._buffer("found", 4 * images * count)
        self._cuda.clear(counts, 4 * images, stream)
        limit = float(np.float32(boxes.conf)) * _SLACK
        arguments = [
            *_part(pointers, shapes, layout.scores, numbers=True),
            (_numbers(layout.scores, shapes), integer),
            *(
                _part(pointers, shapes, layout.objectness)
                if layout.objectness
                else [(0, pointer), (0, long), (0, long)]
            ),
            (limit, single),
            (count, integer),
            (images, integer),
            (counts, pointer),
            (found, pointer),
        ]
        grid = (-(-count // _THREADS), images, 1)
        kernels.launch("keep", grid, (_THREADS, 1, 1), arguments, stream)
        whole = {part.output: Part(part.output, channels_first=part.channels_first) for part in layout.parts}
        for name, part in whole.items():
            numbers = _numbers(part, shapes)
            rows = self._buffer(name, 4 * images * count * numbers)
            arguments = [
                *_part(pointers, shapes, part, numbers=True),
                (numbers, integer),
                (count, integer),
                (images, integer),
                (counts, pointer),
                (found, pointer),
                (rows, pointer),
            ]
            kernels.launch("gather", grid, (_THREADS, 1, 1), arguments, stream)
        kept = self._copied(counts, (images,), np.int32, stream)
        most = max(int(kept.max(initial=0)), 1)
        order = self._copied(found, (most, images), np.int32, stream)
        result = {}
        for name, part in whole.items():
            numbers = _numbers(part, shapes)
            copied = self._copied(self._buffers[name].pointer, (most, images, numbers), np.float32, stream)
            result[name] = _sorted(copied, order, kept, part)
        return {name: result[name] for name in shapes}

    def _buffer(self, name: str, size: int) -> int:
        """Grown on demand, between calls: nothing of this lane is running."""
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < size:
            if buffer is not None:
                buffer.free()
            buffer = self._buffers[name] = DeviceBuffer(self._cuda, size, f"boxes ({name})")
        return buffer.pointer

    def _copied(self, address: int, shape: tuple[int, ...], dtype: Any, stream: int) -> NDArray[Any]:
        size = math.prod(shape) * np.dtype(dtype).itemsize
        block = self._pinned.allocate(size)
        self._cuda.copy(block.pointer, address, size, self._cuda.to_host, stream)
        self._cuda.synchronize(stream)
        return block.array(shape, np.dtype(dtype))


def _sorted(rows: NDArray[Any], order: NDArray[Any], kept: NDArray[Any], part: Part) -> NDArray[Any]:
    """[most, B, C] in any order to [B, most, C], or [B, C, most], in the order of the boxes."""
    most, images, numbers = rows.shape
    result = np.zeros((images, most, numbers), rows.dtype)
    for image, count in enumerate(kept):
        result[image, :count] = rows[np.argsort(order[:count, image]), image]
    return np.ascontiguousarray(result.transpose(0, 2, 1)) if part.channels_first else result


def _counts(part: Part, shape: tuple[int, ...]) -> tuple[int, int]:
    """Images and boxes."""
    return shape[0], shape[2 if part.channels_first else 1]


def _numbers(part: Part, shapes: Shapes) -> int:
    """How many numbers of each box a part has."""
    stop = part.stop if part.stop is not None else shapes[part.output][1 if part.channels_first else 2]
    return stop - part.start


def _part(pointers: Mapping[str, int], shapes: Shapes, part: Part, *, numbers: bool = False) -> list[Argument]:
    """Where a part begins, and the steps from image to image, box to box and, if asked, number to number."""
    _, second, third = shapes[part.output]
    per_box, per_number = (1, third) if part.channels_first else (third, 1)
    steps = [(second * third, long), (per_box, long), *([(per_number, long)] if numbers else [])]
    return [(pointers[part.output] + 4 * part.start * per_number, pointer), *steps]
