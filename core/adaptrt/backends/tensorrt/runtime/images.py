"""Images as the input of an engine: bytes cross the bus, and a kernel writes the network's values, bit for bit those of the CPU.

Images in device or page-locked memory are resized by the kernel if its arithmetic gives OpenCV's pixels, else on the CPU. Of an image in
pageable memory, the rows that have a weight are copied to page-locked memory, unless there are so many that resizing on the CPU is faster.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptrt.backends.tensorrt.runtime.arrays import view_input
from adaptrt.backends.tensorrt.runtime.compiled import Argument, Kernels, integer, kernels_for, pointer
from adaptrt.backends.tensorrt.runtime.engine import Engine
from adaptrt.backends.tensorrt.runtime.memory import Completion, DeviceBuffer, Events, PinnedPool
from adaptrt.backends.tensorrt.runtime.placed_images import ALIGNED, IMAGE, ImageForm, Placed, Prepared, RowGroups
from adaptrt.errors import AdaptrtError, DependencyError, EngineError, ImageError, ModelError
from adaptrt.predictions import ImageMeta
from adaptrt.specs import ImageTransform, ModelSpec
from adaptrt.specs.runners import is_on_device

_SPECS = 32
_BLOCK = (32, 8, 1)
_PART = 512 << 10  # bytes: to copy fewer takes as long as to wake another thread


class _Staging:
    """Page-locked memory for rows of images in pageable memory, side by side; allocated once their sizes are known."""

    __slots__ = ("_bytes", "offset", "size")

    def __init__(self, offset: int) -> None:
        self.offset, self.size = offset, 0
        self._bytes: NDArray[np.uint8] | None = None

    def bytes(self, owner: DeviceImages) -> NDArray[np.uint8]:
        if self._bytes is None:
            self._bytes = owner.page_locked(self.size)
        return self._bytes


class _Copy(NamedTuple):
    """The rows of an image that the kernel reads, and where in a staging area they go."""

    pixels: NDArray[np.uint8]
    used: NDArray[np.intp]
    staging: _Staging
    start: int

    def parts(self, owner: DeviceImages, count: int) -> list[Callable[[], Any]]:
        """At most ``count`` functions that make the copy together; each is one call into NumPy, which releases the interpreter lock."""
        rows = self.pixels.reshape(len(self.pixels), -1)
        size = len(self.used) * rows.shape[1]
        copy = self.staging.bytes(owner)[self.start : self.start + size].reshape(len(self.used), -1)
        count = max(min(count, size // _PART), 1)
        ends = [len(copy) * index // count for index in range(count + 1)]
        if len(self.used) == len(rows):
            return [partial(np.copyto, copy[start:end], rows[start:end]) for start, end in pairwise(ends)]
        return [partial(rows.take, self.used[start:end], 0, copy[start:end], "clip") for start, end in pairwise(ends)]


class ImageBatch:
    """Images on the way to the device. ``write`` may be called from several threads, for different rows.

    Its memory is used again once a run has ended: what does not change from call to call is written once.
    """

    def __init__(self, owner: DeviceImages, prepared: Prepared) -> None:
        self.form, self.layout = prepared.form, prepared.layout
        self._owner, self._prepared = owner, prepared
        self._head = owner.page_locked(self.layout.head)
        self._records = self._head[: self.layout.limits].view(IMAGE)
        self._limits = self._head[self.layout.limits : self.layout.limits + 8].view(np.float32)
        self._head[self.layout.identity : self.layout.taps] = prepared.identity
        self._tables: dict[int, tuple[int, Placed]] = {}
        """Offset by the id of the bytes of taps, which ``Placed`` keeps alive, so that no other table gets this id."""
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._current: set[int] = set()
        self._pixels: NDArray[np.uint8] | None = None
        self._raw: list[tuple[int, NDArray[np.uint8]]] = []
        self._grouped: list[tuple[int, NDArray[np.uint8], RowGroups]] = []
        self._raw_bytes = 0
        self._staged: list[_Staging] = []
        self._open: _Staging | None = None
        self._planned: list[_Copy] = []
        self._held: list[Any] = []
        self.ready: Completion | None = None

    @property
    def device_bytes(self) -> int:
        return self.layout.size + self._raw_bytes

    def take(self, index: int, image: Any) -> ImageMeta | None:
        """Let the GPU resize an image, uint8 [H, W, C] in any memory; ``None``: ``write`` it."""
        if isinstance(image, np.ndarray):
            return self._take_host(index, image)
        return self._take_device(index, image) if is_on_device(image) else None

    def copies(self, threads: int) -> list[Callable[[], Any]]:
        """What is left to do for the images taken: functions for so many threads. ``fill`` calls those that were not asked for."""
        with self._lock:
            planned, self._planned, self._open = self._planned, [], None
        if not planned:
            return []
        each = -(-threads // len(planned))
        return [part for copy in planned for part in copy.parts(self._owner, each)]

    def write(self, index: int, image: Any) -> ImageMeta:
        """Read an image, anything that ``read_image`` takes, resize it on the CPU, and write its pixels into a row."""
        from adaptrt.vision.images import read_image

        pixels = read_image(image, self.form.channels)
        placed = self._prepared.placed(pixels.shape[:2])
        if not placed.copied or not self._owner.resizes:
            return self._write_resized(index, pixels)
        copy, meta = self._copied_rows(index, pixels, placed, alone=True)
        for part in copy.parts(self._owner, 1):
            part()
        return meta

    def fill(self, count: int) -> None:
        """Repeat the last of ``count`` images in the rows after it; afterwards nothing is written."""
        for copy in self.copies(1):
            copy()
        if count < self.form.rows:
            self._records[count:] = self._records[count - 1]
        if self._held:
            self.ready = Completion(self._owner.events, self._owner.stream)

    def limit_boxes(self, limits: tuple[float, float]) -> int:
        """Send the limits of a filter of boxes with the images; returns their offset."""
        self._limits[:] = limits
        return self.layout.limits

    def send(self, base: int, stream: int) -> None:
        """Copy what was written to ``base``, device memory of ``device_bytes``."""
        cuda, layout = self._owner.cuda, self.layout
        if self.ready is not None:
            self.ready.wait_on(stream)
        parts = [(0, self._head[: layout.taps + len(self._tables) * layout.taps_each]), *self._raw]
        if self._pixels is not None:
            parts.append((layout.head, self._pixels))
        parts += [(staging.offset, staging.bytes(self._owner)) for staging in self._staged]
        for offset, array in parts:
            cuda.copy(base + offset, array.__array_interface__["data"][0], array.nbytes, cuda.to_device, stream)
        for offset, array, groups in self._grouped:
            row = array.nbytes // len(array)
            source = array.__array_interface__["data"][0] + groups.first * row
            sizes = groups.run * row, groups.step * row, groups.times
            cuda.copy_rows(base + offset, source, *sizes, cuda.to_device, stream)

    def release(self) -> None:
        """The run has ended: the memory may serve another batch."""
        self._begin()
        self._prepared.idle.append(self)

    def _write_resized(self, index: int, pixels: NDArray[np.uint8]) -> ImageMeta:
        from adaptrt.vision.transforms import write_visible

        form, layout = self.form, self.layout
        placed = self._prepared.placed(pixels.shape[:2])
        top, left, height, width, _ = placed.record
        with self._lock:
            if self._pixels is None:
                self._pixels = self._owner.page_locked(layout.size - layout.head)
        start = layout.pixels(index)
        region = self._pixels[start - layout.head :][: height * width * form.channels]
        write_visible(pixels, placed.placement, form.transform, region.reshape(height, width, form.channels))
        self._records[index] = (
            start, 1, width * form.channels, top, left, height, width, 1, layout.identity, layout.identity,
        )  # fmt: skip
        return placed.placement.meta

    def _take_host(self, index: int, pixels: NDArray[Any]) -> ImageMeta | None:
        owner, shape = self._owner, pixels.shape
        if not owner.resizes or pixels.dtype != np.uint8 or len(shape) != 3 or shape[2] != self.form.channels:
            return None
        if not pixels.size or not pixels.flags.c_contiguous:
            return None
        placed = self._prepared.placed(shape[:2])
        if placed.taps is None:
            return None
        if owner.cuda.is_pinned(pixels.__array_interface__["data"][0]):
            return self._take_pinned(index, pixels, placed, placed.taps)
        if not placed.copied:
            return None
        copy, meta = self._copied_rows(index, pixels, placed)
        self._planned.append(copy)
        return meta

    def _take_pinned(self, index: int, pixels: NDArray[np.uint8], placed: Placed, taps: NDArray[np.uint8]) -> ImageMeta:
        height, width = pixels.shape[:2]
        if placed.groups is None:
            with self._lock:
                offset = self._reserve(pixels.nbytes)
                self._raw.append((offset, pixels))
            return self._read_by_kernel(index, width, placed, taps, offset + placed.first, relative=1)
        assert placed.packed is not None
        with self._lock:
            offset = self._reserve(pixels.nbytes // height * placed.groups.run * placed.groups.times)
            self._grouped.append((offset, pixels, placed.groups))
        return self._read_by_kernel(index, width, placed, placed.packed, offset + placed.left, relative=1)

    def _copied_rows(
        self, index: int, pixels: NDArray[np.uint8], placed: Placed, *, alone: bool = False
    ) -> tuple[_Copy, ImageMeta]:
        """Plan a copy of what the kernel reads; ``alone``: into a staging area of its own."""
        used, taps = placed.used, placed.packed
        assert used is not None
        assert taps is not None
        size = len(used) * pixels.shape[1] * self.form.channels
        with self._lock:
            offset = self._reserve(size)
            staging = None if alone else self._open
            if staging is None or staging.offset + -(-staging.size // ALIGNED) * ALIGNED != offset:
                staging = _Staging(offset)
                self._staged.append(staging)
                self._open = None if alone else staging
            staging.size = offset - staging.offset + size
        copy = _Copy(pixels, used, staging, offset - staging.offset)
        return copy, self._read_by_kernel(index, pixels.shape[1], placed, taps, offset + placed.left, relative=1)

    def _reserve(self, size: int) -> int:
        """Room on the device; returns its offset. With the lock held."""
        offset = self.layout.size + self._raw_bytes
        self._raw_bytes += -(-size // ALIGNED) * ALIGNED
        return offset

    def _take_device(self, index: int, image: Any) -> ImageMeta:
        with self._lock:  # the producer's stream and ours are ordered by one event
            view = view_input("image", image, self._owner.stream, self._owner.cuda)
        shape = view.shape
        if view.dtype != np.uint8 or len(shape) != 3 or shape[2] != self.form.channels or not math.prod(shape):
            raise ImageError(
                f"Images on the device must be uint8 [H, W, {self.form.channels}], RGB; got {view.dtype} {list(shape)}.",
                hint="For a torch tensor [3, H, W]: x.permute(1, 2, 0).contiguous()",
            )
        placed = self._prepared.placed((shape[0], shape[1]))
        if placed.taps is None or not self._owner.resizes:
            return self.write(index, self._owner.to_host(view.pointer, shape))
        with self._lock:
            self._held.append((view, image))
        return self._read_by_kernel(index, shape[1], placed, placed.taps, view.pointer + placed.first, relative=0)

    def _read_by_kernel(
        self, index: int, width: int, placed: Placed, taps: NDArray[np.uint8], start: int, *, relative: int
    ) -> ImageMeta:
        """``width``: pixels of a row. ``start``: of the first pixel, an address, or an offset if ``relative``."""
        with self._lock:
            at = self._table(placed, taps)
        self._records[index] = (
            start, relative, width * self.form.channels, *placed.record, at, at + placed.rows_bytes,
        )  # fmt: skip
        return placed.placement.meta

    def _table(self, placed: Placed, taps: NDArray[np.uint8]) -> int:
        """The offset of a table of taps, which may be there from an earlier call. With the lock held."""
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


class DeviceImages:
    """Turns images into the input of one engine. ``warnings`` says why images are prepared on the CPU."""

    def __init__(self, engine: Engine, events: Events, pinned: PinnedPool, capability: str) -> None:
        self.cuda, self.events, self._pinned = engine.cuda, events, pinned
        self._inputs, self._capability = engine.inputs, capability
        self._kernels: Kernels | None = None
        self._values: dict[tuple[ImageTransform, int], DeviceBuffer] = {}
        self._checked: dict[ImageForm, bool] = {}
        self._prepared: dict[tuple[int, int], tuple[ModelSpec, Prepared | None]] = {}
        self._lock = threading.Lock()
        self.resizes = True
        self.warnings: list[str] = []

    @property
    def stream(self) -> int:
        """For copies and waits outside of calls."""
        return self._pinned.stream.handle

    def batch(self, spec: ModelSpec, rows: int) -> ImageBatch | None:
        """Memory for the images of one call; ``None`` where the CPU has to prepare them."""
        key = (id(spec), rows)  # a spec takes long to hash; it is kept, so that the id stays its own
        known = self._prepared.get(key)
        if known is None:
            form = self._form(spec, rows)
            known = (spec, Prepared(form) if form is not None and self._works(form) else None)
            with self._lock:
                if len(self._prepared) >= _SPECS:
                    self._forget()
                self._prepared[key] = known
        prepared = known[1]
        if prepared is None:
            return None
        try:
            return prepared.idle.pop()
        except IndexError:
            return ImageBatch(self, prepared)

    def arguments(self, form: ImageForm, base: int, target: int) -> list[Argument]:
        """Those of the kernel ``preprocess``, which writes ``target`` from what a batch sent to ``base``."""
        transform = form.transform
        swapped = transform.colors == "bgr" and form.channels == 3 and not transform.embedded
        return [
            (base, pointer),
            (target, pointer),
            (self._values[transform, form.channels].pointer, pointer),
            (form.height, integer),
            (form.width, integer),
            (form.channels, integer),
            (int(swapped), integer),
            (int(transform.embedded), integer),
            (transform.pad or 0, integer),
        ]

    def launch(self, form: ImageForm, base: int, target: int, stream: int) -> None:
        assert self._kernels is not None
        grid = (-(-form.width // _BLOCK[0]), -(-form.height // _BLOCK[1]), form.rows)
        self._kernels.launch("preprocess", grid, _BLOCK, self.arguments(form, base, target), stream)

    @property
    def kernels(self) -> Kernels:
        assert self._kernels is not None
        return self._kernels

    def page_locked(self, size: int) -> NDArray[np.uint8]:
        return self._pinned.allocate(size).array((size,), np.dtype(np.uint8))

    def to_host(self, address: int, shape: Sequence[int]) -> NDArray[np.uint8]:
        """A copy of an image on the device."""
        size = math.prod(shape)
        block = self._pinned.allocate(size)
        self.cuda.copy(block.pointer, address, size, self.cuda.to_host, self.stream)
        self.cuda.synchronize(self.stream)
        return self._pinned.array(block, tuple(shape), np.dtype(np.uint8))

    def _pinned_copy(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        copy = self._pinned.input_array(image.shape, image.dtype)
        np.copyto(copy, image)
        return copy

    def close(self) -> None:
        self._values.clear()
        self._forget()

    def _forget(self) -> None:
        for _, prepared in self._prepared.values():
            if prepared is not None:
                prepared.idle.clear()  # they refer to it
        self._prepared.clear()

    def _form(self, spec: ModelSpec, rows: int) -> ImageForm | None:
        if spec.image is None or len(self._inputs) != 1 or self._inputs[0].on_host:
            return None
        dtype = np.uint8 if spec.image.embedded else np.float32
        if self._inputs[0].name != spec.image.input or self._inputs[0].dtype != dtype:
            return None
        height, width = spec.image_size
        return ImageForm(spec.image, height, width, spec.image_channels, rows)

    def _works(self, form: ImageForm) -> bool:
        """Whether the kernel gives the CPU's values here, tried once for each transform and size."""
        one = form._replace(rows=1)
        with self._lock:
            if one not in self._checked:
                self._checked[one] = self._try(form)
            return self._checked[one]

    def _try(self, form: ImageForm) -> bool:
        try:
            if self._kernels is None:
                self._kernels = kernels_for(self.cuda, self._capability)
            self._load_values(form)
            self._require_equal(form)
        except (DependencyError, EngineError) as error:
            self._warn(f"images are prepared on the CPU: {error.message}")
            return False
        except ModelError:
            return False
        return True

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)

    def _load_values(self, form: ImageForm) -> None:
        from adaptrt.vision.transforms import value_table

        key = (form.transform, form.channels)
        if key in self._values:
            return
        table = value_table(form.transform, form.channels)
        block = self._pinned.allocate(table.nbytes)
        block.array(table.shape, table.dtype)[...] = table
        buffer = DeviceBuffer(self.cuda, table.nbytes, "pixel values")
        with self.cuda.current():
            self.cuda.copy(buffer.pointer, block.pointer, table.nbytes, self.cuda.to_device, self.stream)
            self.cuda.synchronize(self.stream)
        self._values[key] = buffer

    def _require_equal(self, form: ImageForm) -> None:
        """Compare the kernel with the CPU: an image resized there, and images resized by the kernel.

        Without the latter, images are resized on the CPU only.
        """
        height, width = form.height, form.width
        sizes = [(height + 37, width + 5), (2 * height, 2 * width), (height // 3 + 1, width + 11)]
        rng = np.random.default_rng(0)
        images = [rng.integers(0, 256, (*size, form.channels), np.uint8) for size in sizes]
        if not self._equal(form, images[:1], resized_here=False):
            raise EngineError("the kernel gives other values than the CPU.")
        try:
            self.resizes = self.resizes and self._equal(form, images, resized_here=True)
        except AdaptrtError as error:
            self.resizes = False
            self._warn(f"images are resized on the CPU: {error.message}")
            return
        if not self.resizes:
            self._warn("images are resized on the CPU: this OpenCV gives other pixels than the kernel.")
        elif Prepared(form).placed(sizes[0]).taps is None:
            kind = f"{form.transform.library} {form.transform.interpolation}"
            self._warn(f"images are resized on the CPU: the kernel does not compute {kind} as the CPU does.")

    def _equal(self, form: ImageForm, images: list[NDArray[np.uint8]], *, resized_here: bool) -> bool:
        from adaptrt.vision.transforms import transform_image

        form = form._replace(rows=len(images))
        batch = ImageBatch(self, Prepared(form))
        for index, image in enumerate(images):
            if not (resized_here and batch.take(index, self._pinned_copy(image))):
                batch._write_resized(index, image)
        batch.fill(len(images))
        dtype = np.dtype(np.uint8 if form.transform.embedded else np.float32)
        area = (form.height, form.width)
        shape = (form.channels, *area) if dtype == np.float32 else (*area, form.channels)
        size = len(images) * math.prod(shape) * dtype.itemsize
        source, target = (DeviceBuffer(self.cuda, count, "a test image") for count in (batch.device_bytes, size))
        found = self._pinned.allocate(size)
        with self.cuda.current():
            batch.send(source.pointer, self.stream)
            self.launch(form, source.pointer, target.pointer, self.stream)
            self.cuda.copy(found.pointer, target.pointer, size, self.cuda.to_host, self.stream)
            self.cuda.synchronize(self.stream)
        values = found.array((len(images), *shape), dtype)
        expected = (transform_image(image, form.transform, area, out=np.empty(shape, dtype))[0] for image in images)
        return all(map(np.array_equal, values, expected))
