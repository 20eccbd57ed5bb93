"""Brings only the boxes above a score to the host: a detector's raw outputs are megabytes, of which a decoder uses a few rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptrt.backends.tensorrt.runtime.compiled import Argument, Kernels, integer, long, number, pointer
from adaptrt.backends.tensorrt.runtime.memory import DeviceBuffer, PinnedBlock, PinnedPool
from adaptrt.specs.layouts import BoxFilter, Part
from adaptrt.vision.nms import largest_float32_up_to

Shapes = Mapping[str, tuple[int, ...]]
_THREADS = 256
_FLOATS = (np.dtype(np.float32), np.dtype(np.float16))
_WORTHWHILE = 1 << 16  # bytes of outputs: below, a plain copy takes as long
_SLACK = 1 - 2.0**-20  # the decoder compares boxes that are not ranked again
MOST = 512  # boxes of an image that the kernels compare and write to the host, as in kernels.cu; more need another launch and a copy
_RANKED = 6  # numbers of a ranked box
_WARPS, _BLOCKS = 8, 8  # of a block, and blocks of an image, that gather


def filters(boxes: BoxFilter, shapes: Shapes, types: Mapping[str, np.dtype[Any]]) -> bool:
    """Whether a filter applies to these outputs: those of boxes are float32 or float16, [B, N, C] or [B, C, N], and have the same boxes.

    Others are copied whole, if the layout knows them. Boxes that are ranked have the classes of the filter: else the decoder says what is wrong.
    """
    parts, kept = boxes.layout.parts, boxes.layout.kept
    names = {part.output for part in parts}
    if names | set(kept) != set(shapes) or names & set(kept) or any(types[name] not in _FLOATS for name in names):
        return False
    if any(len(shapes[name]) != 3 for name in names):
        return False
    if boxes.iou is not None:
        classes = _numbers(boxes.layout.scores, shapes)
        if classes < 1 or boxes.classes not in (0, classes):
            return False
    counts = {(shapes[part.output][0], shapes[part.output][2 if part.channels_first else 1]) for part in parts}
    channels_first = {part.output: part.channels_first for part in parts}
    same = all(channels_first[part.output] == part.channels_first for part in parts)
    return len(counts) == 1 and same and 4 * sum(math.prod(shapes[name]) for name in names) > _WORTHWHILE


def limits_of(boxes: BoxFilter) -> tuple[float, float, float]:
    """What the kernels compare with: a score a little below ``conf``, the overlap, and ``conf``."""
    return _limits(boxes.conf, boxes.iou)


@lru_cache(maxsize=64)
def _limits(conf: float, iou: float | None) -> tuple[float, float, float]:
    single = float(np.float32(conf))
    return single * _SLACK, 0.0 if iou is None else float(largest_float32_up_to(iou)), single


class Half(NamedTuple):
    """An output in half precision: its address, that of its numbers in float32, and how many there are."""

    source: int
    target: int
    numbers: int


class _Rows(NamedTuple):
    """One output: its numbers of each box, in page-locked memory that the kernel writes to."""

    part: Part
    numbers: int
    block: PinnedBlock
    values: NDArray[np.float32]
    """[images, most, numbers]."""


class BoxRows:
    """The rows of one output shape, for the calls of one lane. ``launch`` can be captured; ``read`` once its work is done.

    ``pointers``: of outputs in float32. ``limits``: the address on the device of what ``limits_of`` gives, float32. ``halves``: what is
    converted first. ``suppresses``: whether boxes that a better one overlaps are removed, and the others ranked; an image with more than
    ``MOST`` boxes keeps them all.
    """

    def __init__(
        self,
        kernels: Kernels,
        pinned: PinnedPool,
        boxes: BoxFilter,
        pointers: Mapping[str, int],
        shapes: Shapes,
        limits: int,
        halves: Sequence[Half] = (),
    ) -> None:
        layout = boxes.layout
        self._halves = halves
        self._kernels, self._pinned, self._cuda = kernels, pinned, pinned.cuda
        self._pointers, self._shapes = pointers, shapes
        self.names = {part.output for part in layout.parts}
        self._images, self._boxes = _counts(layout.scores, shapes[layout.scores.output])
        words = -(-self._boxes // 32)
        self._lists = DeviceBuffer(self._cuda, 4 * self._images * (1 + words + self._boxes), "boxes")
        self._counts, marks = self._lists.pointer, self._lists.pointer + 4 * self._images
        self._found = marks + 4 * self._images * words
        self._total_block = pinned.allocate(4 * self._images)
        self._totals = self._total_block.array((self._images,), np.dtype(np.int32))
        self._rows: dict[str, _Rows] = {}
        for part in layout.parts:
            if part.output not in self._rows:
                whole = Part(part.output, channels_first=part.channels_first)
                self._rows[part.output] = self._new_rows(whole, min(self._boxes, MOST))
        self._order = [name for name in shapes if name in self._rows]
        factors = (
            _part(pointers, shapes, layout.objectness) if layout.objectness else [(0, pointer), (0, long), (0, long)]
        )
        self._mark: list[Argument] = [
            *_part(pointers, shapes, layout.scores, numbers=True),
            (_numbers(layout.scores, shapes), integer),
            *factors,
            (limits, pointer),
            (self._boxes, integer),
            (self._images, integer),
            (marks, pointer),
        ]
        self._list: list[Argument] = [
            (marks, pointer),
            (self._boxes, integer),
            (self._images, integer),
            (self._found, pointer),
            (self._counts, pointer),
            (self._total_block.pointer, pointer),
        ]
        self.is_all = len(self._rows) == len(shapes)
        """Whether there is no output beside those of boxes."""
        self.suppresses = boxes.iou is not None and not layout.multi_label and layout.angle is None
        most = min(self._boxes, MOST) if self.suppresses else 0
        self._ranked_block = pinned.allocate(4 * self._images * (1 + _RANKED * most))
        numbers = self._ranked_block.array((self._images * (1 + _RANKED * most),), np.dtype(np.int32))
        self._kept, ranked = numbers[: self._images], numbers[self._images :].view(np.float32)
        self._ranked = ranked.reshape(self._images, most, _RANKED)
        self._suppress: list[Argument] = [
            *_part(pointers, shapes, layout.boxes, numbers=True),
            (int(layout.centers), integer),
            *self._mark[:-3],
            (boxes.offset, number),
            (self._boxes, integer),
            (self._images, integer),
            *self._list[3:],
            (most, integer),
            (self._ranked_block.pointer + 4 * self._images, pointer),
            (self._ranked_block.pointer, pointer),
        ]
        self._gather = [self._gathering(rows, rows.block.pointer) for rows in self._rows.values()]

    def launch(self, stream: int) -> None:
        """Find the boxes, and write the first of each image, and how many there are, to the host."""
        for half in self._halves:
            arguments = [(half.source, pointer), (half.target, pointer), (half.numbers, long)]
            self._kernels.launch("widen", (-(-half.numbers // _THREADS), 1, 1), (_THREADS, 1, 1), arguments, stream)
        grid = (-(-self._boxes // _THREADS), self._images, 1)
        self._kernels.launch("mark", grid, (_THREADS, 1, 1), self._mark, stream)
        self._kernels.launch("list", (self._images, 1, 1), (_THREADS, 1, 1), self._list, stream)
        if self.suppresses:
            self._kernels.launch("suppress", (self._images, 1, 1), (MOST, 1, 1), self._suppress, stream)
        for arguments in self._gather:
            self._launch_gather(arguments, stream)

    def ranked(self) -> NDArray[np.float32] | None:
        """The boxes of the last launch that no better one overlaps, as ``specs.runners.StartedRun`` describes them, once its work is done.

        ``None``: an image had too many to compare.
        """
        if not self.suppresses or max(self._totals.tolist()) > MOST:
            return None
        counts = self._kept.tolist()
        most = max(counts)
        found: NDArray[np.float32] = self._ranked[:, :most].copy()
        if min(counts) < most:
            found[np.arange(most) >= np.array(counts)[:, None]] = 0
        return found

    def read(self, stream: int) -> dict[str, NDArray[Any]]:
        """Outputs, in float32, with only the boxes whose score is above the limit, in their order; images with fewer are filled with zeros."""
        totals = self._totals.tolist()
        most = max(*totals, 1)
        short = None if min(totals) == most else np.arange(most) >= np.array(totals)[:, None]
        found = {}
        for name in self._order:
            rows = self._rows[name]
            values = rows.values[:, :most].copy() if most <= MOST else self._copied(rows, most, stream)
            if short is not None:
                values[short] = 0
            found[name] = values.transpose(0, 2, 1) if rows.part.channels_first else values
        return found

    def _new_rows(self, part: Part, most: int) -> _Rows:
        numbers = _numbers(part, self._shapes)
        block = self._pinned.allocate(4 * self._images * most * numbers)
        return _Rows(part, numbers, block, block.array((self._images, most, numbers), np.dtype(np.float32)))

    def _gathering(self, rows: _Rows, target: int) -> list[Argument]:
        return [
            *_part(self._pointers, self._shapes, rows.part, numbers=True),
            (rows.numbers, integer),
            (rows.values.shape[1], integer),
            (self._boxes, integer),
            (self._images, integer),
            (self._counts, pointer),
            (self._found, pointer),
            (target, pointer),
        ]

    def _launch_gather(self, arguments: list[Argument], stream: int) -> None:
        self._kernels.launch("gather", (_BLOCKS, self._images, 1), (32, _WARPS, 1), arguments, stream)

    def _copied(self, rows: _Rows, most: int, stream: int) -> NDArray[Any]:
        """More rows than the kernel writes to the host: they are collected on the device, then copied."""
        more = self._new_rows(rows.part, most)
        size = more.values.nbytes
        target = DeviceBuffer(self._cuda, size, "rows of boxes")
        self._launch_gather(self._gathering(more, target.pointer), stream)
        self._cuda.copy(more.block.pointer, target.pointer, size, self._cuda.to_host, stream)
        self._cuda.synchronize(stream)
        target.free()
        return more.values


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
