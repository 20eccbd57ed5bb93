"""The images of one call, on the way to the device: what each of them needs is written or copied to page-locked memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptrt.backends.tensorrt.runtime.arrays import view_input
from adaptrt.backends.tensorrt.runtime.boxes import limits_of
from adaptrt.backends.tensorrt.runtime.memory import Completion
from adaptrt.backends.tensorrt.runtime.placed_images import ALIGNED, RECORD, Placed, Prepared, RowGroups
from adaptrt.backends.tensorrt.runtime.ways import Chosen, FastestWay, Trial
from adaptrt.errors import AdaptrtError, ImageError
from adaptrt.predictions import ImageMeta
from adaptrt.specs.layouts import BoxFilter
from adaptrt.specs.runners import is_on_device
from adaptrt.worker_threads import core_failed

if TYPE_CHECKING:
    from adaptrt.backends.tensorrt.runtime.images import DeviceImages

# bytes, and threads: with smaller parts or more threads, a call with one image takes longer (measured on an H100)
_PART, _PARTS = 1 << 20, 4
_BYTES = np.dtype(np.uint8)


class _Staging:
    """Page-locked memory for rows of images in pageable memory, side by side; allocated by ``allocate`` once their sizes are known."""

    __slots__ = ("_allocate", "_bytes", "offset", "size")

    def __init__(self, offset: int, allocate: Callable[[int], NDArray[np.uint8]]) -> None:
        self.offset, self.size = offset, 0
        self._allocate = allocate
        self._bytes: NDArray[np.uint8] | None = None

    def bytes(self) -> NDArray[np.uint8]:
        if self._bytes is None:
            self._bytes = self._allocate(self.size)
        return self._bytes


class _Copy(NamedTuple):
    """The rows of an image that the kernel reads, and where in a staging area they go."""

    pixels: NDArray[np.uint8]
    used: NDArray[np.intp]
    staging: _Staging
    start: int
    trial: Trial | None = None

    def parts(self, count: int) -> list[Callable[[], Any]]:
        """At most ``count`` functions that make the copy together; each is one call into NumPy, which releases the interpreter lock."""
        rows = self.pixels.reshape(len(self.pixels), -1)
        size = len(self.used) * rows.shape[1]
        copy = self.staging.bytes()[self.start : self.start + size].reshape(len(self.used), -1)
        count = max(min(count, size // _PART, _PARTS), 1)
        if self.trial is not None:
            return [partial(self.trial.timed, part) for part in self._replace(trial=None).parts(count)]
        ends = [len(copy) * index // count for index in range(count + 1)]
        if len(self.used) == len(rows):
            return [partial(np.copyto, copy[start:end], rows[start:end]) for start, end in pairwise(ends)]
        return [partial(rows.take, self.used[start:end], 0, copy[start:end], "clip") for start, end in pairwise(ends)]


class ImageBatch:
    """Images on the way to the device. ``write`` may be called from several threads, for different rows; all else is for one thread.

    Its memory is used again once a run has ended: what does not change from call to call is written once.
    """

    def __init__(self, owner: DeviceImages, prepared: Prepared) -> None:
        self.form, self.layout = prepared.form, prepared.layout
        self._owner, self.prepared = owner, prepared
        self._take_memory(owner.page_locked(self.layout.head))
        self._head[self.layout.identity : self.layout.taps] = prepared.identity
        self._boxes: BoxFilter | None = None
        self._tables: dict[int, tuple[int, Placed]] = {}
        """Offset by the id of the bytes of taps, which ``Placed`` keeps alive, so that no other table gets this id."""
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._current: set[int] = set()
        self._pixels: NDArray[np.uint8] | None = None
        self._chosen: dict[FastestWay, Chosen] = {}
        self._resized: dict[int, Trial | None] = {}
        """Images that the CPU resizes."""
        self._last: Callable[[], Any] | None = None
        """Resizes an image that is alone. Afterwards the caches hold pixels, and Python is slow: little should be left to do then."""
        self.late_seconds = 0.0
        """That this took."""
        self._pageable = False
        self._raw: list[tuple[int, int, int]] = []
        """Where dense images go, their addresses and bytes."""
        self._grouped: list[tuple[int, int, int, RowGroups]] = []
        """Where groups of rows go, the address of the first, and the bytes of a row."""
        self.device_bytes, self._joined = self.layout.head, 0
        self._pixels_at = -1
        self._staged: list[_Staging] = []
        self._open: _Staging | None = None
        self._planned: list[_Copy] = []
        self._held: list[Any] = []
        self._ordered = False
        self.ready: Completion | None = None

    def _take_memory(self, memory: NDArray[np.uint8]) -> None:
        """Memory that begins with the head."""
        layout = self.layout
        self._memory, self._head = memory, memory[: layout.head]
        self._address = int(memory.__array_interface__["data"][0])
        self._records = memoryview(self._head[: layout.limits])  # type: ignore[arg-type]
        self._limits = self._head[layout.limits : layout.limits + 12].view(np.float32)

    def _behind_head(self, size: int) -> NDArray[np.uint8]:
        """Memory of one image alone, which a single copy sends together with the head."""
        head = self.layout.head
        if head + size > self._memory.size:
            larger = self._owner.page_locked(1 << (head + size - 1).bit_length())
            larger[:head] = self._head
            self._take_memory(larger)
        self._joined = size
        return self._memory[head : head + size]

    def take(self, index: int, image: Any) -> ImageMeta | None:
        """Let the GPU resize an image, uint8 [H, W, C] in any memory; ``None``: ``write`` it."""
        if isinstance(image, np.ndarray):
            return self._take_host(index, image)
        return self._take_device(index, image) if is_on_device(image) else None

    def copies(self, threads: int) -> list[Callable[[], Any]]:
        """What is left to do for the images taken: functions for so many threads. ``fill`` calls those that were not asked for."""
        if not self._planned:
            return []
        planned, self._planned, self._open = self._planned, [], None
        each = -(-threads // len(planned))
        return [part for copy in planned for part in copy.parts(each)]

    def write(self, index: int, image: Any) -> ImageMeta:
        """Read an image, anything that ``read_image`` takes, resize it on the CPU, and write its pixels into a row."""
        return self._write(index, image)

    def write_last(self, image: Any) -> ImageMeta:
        """``write`` the only image. If the CPU resizes it, ``send`` does that."""
        return self._write(0, image, late=self.form.rows == 1)

    def _write(self, index: int, image: Any, *, late: bool = False) -> ImageMeta:
        pixels = image
        if not isinstance(image, np.ndarray) or not self._is_plain(image):
            from adaptrt.vision.images import read_image

            pixels = read_image(image, self.form.channels)
        placed = self.prepared.placed(pixels.shape[:2])
        if index in self._resized or placed.ways is None or not self._owner.resizes:
            return self._write_resized(index, pixels, self._resized.get(index), late=late)
        with self._lock:
            copy, meta = self._copied_rows(index, pixels, placed, alone=True)
        for part in copy.parts(1):
            part()
        return meta

    def fill(self, count: int) -> None:
        """Repeat the last of ``count`` images in the rows after it; afterwards nothing is written."""
        if self._planned:
            for copy in self.copies(1):
                copy()
        for chosen in self._chosen.values():
            if chosen.trial is not None and self.form.rows > 1:
                chosen.trial.report(len(chosen.images))
        if count < self.form.rows:
            records = self._head[: self.layout.limits].reshape(self.form.rows, -1)
            records[count:] = records[count - 1]
        if self._ordered:
            self.ready = Completion(self._owner.events, self._owner.stream)

    def limit_boxes(self, boxes: BoxFilter) -> int:
        """Send the limits of a filter of boxes with the images; returns their offset."""
        if boxes is not self._boxes:
            self._boxes, self._limits[:] = boxes, limits_of(boxes)
        return self.layout.limits

    def send(self, base: int, stream: int) -> None:
        """Copy what was written to ``base``, device memory of ``device_bytes``."""
        if self._last is not None:
            self._resize_last(self._last)
        trial = None
        if self.form.rows == 1:
            for chosen in self._chosen.values():
                trial = chosen.trial
        if trial is None:
            self._send(base, stream)
            return
        started = time.perf_counter()
        self._send(base, stream)
        self._owner.cuda.synchronize(stream)
        trial.report(1, time.perf_counter() - started)

    def _resize_last(self, resize: Callable[[], Any]) -> None:
        self._last, started = None, time.perf_counter()
        try:
            resize()
        except AdaptrtError:
            raise
        except Exception as error:
            raise core_failed(error) from error
        self.late_seconds = time.perf_counter() - started

    def _send(self, base: int, stream: int) -> None:
        cuda, layout = self._owner.cuda, self.layout
        if self.ready is not None:
            self.ready.wait_on(stream)
        used = layout.head + self._joined if self._joined else layout.taps + len(self._tables) * layout.taps_each
        cuda.copy(base, self._address, used, cuda.to_device, stream)
        for offset, source, size in self._raw:
            cuda.copy(base + offset, source, size, cuda.to_device, stream, pageable=self._pageable)
        for offset, source, row, groups in self._grouped:
            sizes = groups.run * row, groups.step * row, groups.times
            cuda.copy_rows(base + offset, source, *sizes, cuda.to_device, stream)
        if self.form.rows > 1:
            parts = [(staging.offset, staging.bytes()) for staging in self._staged]
            if self._pixels is not None:
                parts.append((self._pixels_at, self._pixels))
            for offset, array in parts:
                source = array.__array_interface__["data"][0]
                cuda.copy(base + offset, source, array.nbytes, cuda.to_device, stream)

    def release(self) -> None:
        """The run has ended: the memory may serve another batch."""
        self._begin()
        self.prepared.idle.append(self)

    def _write_resized(
        self, index: int, pixels: NDArray[np.uint8], trial: Trial | None = None, *, late: bool = False
    ) -> ImageMeta:
        from adaptrt.vision.transforms import write_visible

        form, layout = self.form, self.layout
        placed = self.prepared.placed(pixels.shape[:2])
        _, _, height, width, _ = placed.record
        size = height * width * form.channels
        with self._lock:
            if form.rows == 1:
                start, region = self._reserve(size), self._behind_head(size)
            else:
                if self._pixels is None:
                    self._pixels = self._owner.page_locked(form.rows * layout.pixels_each)
                    self._pixels_at = self._reserve(self._pixels.size)
                start = self._pixels_at + index * layout.pixels_each
                region = self._pixels[index * layout.pixels_each :][:size]
        resized = region.reshape(height, width, form.channels)
        resize: Callable[[], Any] = partial(write_visible, pixels, placed.placement, form.transform, resized)
        if trial is not None:
            resize = partial(trial.timed, resize)
        if late:
            self._last = resize
        else:
            resize()
        return self._read_resized(index, placed, start)

    def _read_resized(self, index: int, placed: Placed, start: int) -> ImageMeta:
        """Let the kernel read pixels that the CPU has resized."""
        top, left, height, width, _ = placed.record
        at = self.layout.identity
        record = (start, 1, width * self.form.channels, top, left, height, width, 1, at, at)
        RECORD.pack_into(self._records, index * RECORD.size, *record)
        return placed.placement.meta

    def _is_plain(self, pixels: NDArray[Any]) -> bool:
        """Whether it is an image as ``read_image`` returns it."""
        shape = pixels.shape
        if pixels.dtype is not _BYTES or len(shape) != 3 or shape[2] != self.form.channels:
            return False
        return pixels.flags.c_contiguous and 0 not in shape

    def _take_host(self, index: int, pixels: NDArray[Any]) -> ImageMeta | None:
        owner = self._owner
        if not owner.resizes or not self._is_plain(pixels):
            return None
        placed = self.prepared.placed(pixels.shape[:2])
        if placed.taps is None:
            return None
        address = pixels.__array_interface__["data"][0]
        if owner.is_page_locked(address):
            return self._take_pinned(index, pixels, address, placed, placed.taps)
        if placed.ways is None:
            return None
        chosen = self._way_of(index, placed.ways)
        if chosen.way == "resize":
            self._resized[index] = chosen.trial
            return None
        if chosen.way == "send":
            self._pageable = True
            return self._take_pinned(index, pixels, address, placed, placed.taps)
        copy, meta = self._copied_rows(index, pixels, placed, chosen.trial)
        self._planned.append(copy)
        return meta

    def _way_of(self, index: int, ways: FastestWay) -> Chosen:
        """The same for all images of a size: some that are copied and some that are resized say nothing about either."""
        chosen = self._chosen.get(ways)
        if chosen is None:
            way, tried = ways.next()
            chosen = self._chosen[ways] = Chosen(way, Trial(ways, way) if tried else None, [])
        chosen.images.append(index)
        return chosen

    def _take_pinned(
        self, index: int, pixels: NDArray[np.uint8], address: int, placed: Placed, taps: NDArray[np.uint8]
    ) -> ImageMeta:
        """``address``: of the pixels."""
        self._held.append(pixels)
        (height, width, _), groups = pixels.shape, placed.groups
        if groups is None:
            offset = self._reserve(pixels.nbytes)
            self._raw.append((offset, address, pixels.nbytes))
            return self._read_by_kernel(index, width, placed, taps, offset + placed.first, relative=1)
        assert placed.packed is not None
        row = pixels.nbytes // height
        offset = self._reserve(row * groups.run * groups.times)
        self._grouped.append((offset, address + groups.first * row, row, groups))
        return self._read_by_kernel(index, width, placed, placed.packed, offset + placed.left, relative=1)

    def _copied_rows(
        self, index: int, pixels: NDArray[np.uint8], placed: Placed, trial: Trial | None = None, *, alone: bool = False
    ) -> tuple[_Copy, ImageMeta]:
        """Plan a copy of what the kernel reads; ``alone``: into a separate staging area."""
        used, taps = placed.used, placed.packed
        assert used is not None
        assert taps is not None
        size = len(used) * pixels.shape[1] * self.form.channels
        offset = self._reserve(size)
        staging = None if alone else self._open
        if staging is None or staging.offset + -(-staging.size // ALIGNED) * ALIGNED != offset:
            staging = _Staging(offset, self._behind_head if self.form.rows == 1 else self._owner.page_locked)
            self._staged.append(staging)
            self._open = None if alone else staging
        staging.size = offset - staging.offset + size
        copy = _Copy(pixels, used, staging, offset - staging.offset, trial)
        return copy, self._read_by_kernel(index, pixels.shape[1], placed, taps, offset + placed.left, relative=1)

    def _reserve(self, size: int) -> int:
        """Room on the device; returns its offset. ``write`` holds the lock."""
        offset = self.device_bytes
        self.device_bytes += -(-size // ALIGNED) * ALIGNED
        return offset

    def _take_device(self, index: int, image: Any) -> ImageMeta:
        owner = self._owner  # the producers' streams and ours are ordered by one event
        view = view_input("image", image, owner.stream, owner.cuda)
        shape = view.shape
        if view.dtype != _BYTES or len(shape) != 3 or shape[2] != self.form.channels or 0 in shape:
            raise ImageError(
                f"Images on the device must be uint8 [H, W, {self.form.channels}], RGB; got {view.dtype} {list(shape)}.",
                hint="For a torch tensor [3, H, W]: x.permute(1, 2, 0).contiguous()",
            )
        placed = self.prepared.placed((shape[0], shape[1]))
        if placed.taps is None or not owner.resizes:
            return self.write(index, owner.to_host(view.pointer, shape))
        self._held.append((view, image))
        self._ordered = self._ordered or view.ordered or owner.decodes
        return self._read_by_kernel(index, shape[1], placed, placed.taps, view.pointer + placed.first, relative=0)

    def _read_by_kernel(
        self, index: int, width: int, placed: Placed, taps: NDArray[np.uint8], start: int, *, relative: int
    ) -> ImageMeta:
        """``width``: pixels of a row. ``start``: of the first pixel, an address, or an offset if ``relative``."""
        at = self._table(placed, taps)
        pitch, columns = width * self.form.channels, at + placed.rows_bytes
        RECORD.pack_into(
            self._records, index * RECORD.size, start, relative, pitch, *placed.record, at, columns
        )  # fmt: skip
        return placed.placement.meta

    def _table(self, placed: Placed, taps: NDArray[np.uint8]) -> int:
        """The offset of a table of taps, which may be there from an earlier call. As ``_reserve``."""
        key, layout = id(taps), self.layout
        self._current.add(key)
        found = self._tables.get(key)
        if found is not None:
            return found[0]
        if len(self._tables) < self.form.rows:
            at = layout.taps + len(self._tables) * layout.taps_each
        else:  # there are no more tables than images, so that one of them is of an earlier call
            at, _ = self._tables.pop(next(key for key in self._tables if key not in self._current))
        self._tables[key] = (at, placed)
        self._head[at : at + taps.size] = taps
        return at
