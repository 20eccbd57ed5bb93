"""Images as the input of an engine: bytes cross the bus, and a kernel writes the network's values, bit for bit those of the CPU.

An image in pageable host memory is resized on the CPU first: that reads fewer bytes than a copy of all of them would. An image in
device or page-locked memory is resized by the kernel if its arithmetic gives OpenCV's pixels, else on the CPU.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptrt.backends.tensorrt.runtime.arrays import view_input
from adaptrt.backends.tensorrt.runtime.compiled import Argument, Kernels, integer, kernels_for, pointer
from adaptrt.backends.tensorrt.runtime.engine import Engine
from adaptrt.backends.tensorrt.runtime.memory import Completion, DeviceBuffer, Events, PinnedBlock, PinnedPool
from adaptrt.errors import AdaptrtError, DependencyError, EngineError, ImageError, ModelError
from adaptrt.predictions import ImageMeta
from adaptrt.specs import ImageTransform, ModelSpec
from adaptrt.specs.runners import is_on_device
from adaptrt.vision.placement import Placement, place
from adaptrt.vision.taps import Taps, taps_of

IMAGE = np.dtype([(name, np.int64) for name in ("pixels", "relative", "pitch", "top", "left", "height", "width", "taps", "rows", "columns")])  # fmt: skip
_ALIGNED = 256
_BLOCK = (32, 8, 1)


class ImageForm(NamedTuple):
    """What a batch of images has in common: the transform, height, width and channels of the input, and rows."""

    transform: ImageTransform
    height: int
    width: int
    channels: int
    rows: int


@dataclass(frozen=True)
class Layout:
    """Offsets in the memory of a batch: a record for each image, tables of taps, then pixels. Sizes in bytes."""

    form: ImageForm

    @property
    def identity(self) -> int:
        return self.form.rows * IMAGE.itemsize

    def taps(self, index: int) -> int:
        return self.identity + 8 * max(self.form.height, self.form.width) + index * self._taps_each

    @property
    def head(self) -> int:
        """Everything but pixels."""
        return -(-self.taps(self.form.rows) // _ALIGNED) * _ALIGNED

    def pixels(self, index: int) -> int:
        return self.head + index * self.form.height * self.form.width * self.form.channels

    @property
    def size(self) -> int:
        return self.pixels(self.form.rows)

    @property
    def _taps_each(self) -> int:
        return 16 * (self.form.height + self.form.width)


class ImageBatch:
    """Images on the way to the device. ``write`` may be called from several threads, for different rows."""

    def __init__(self, owner: DeviceImages, form: ImageForm, block: PinnedBlock) -> None:
        self.form, self.layout = form, Layout(form)
        self.block = block
        self._owner = owner
        self._bytes = block.array((self.layout.size,), np.dtype(np.uint8))
        self._records = self._bytes[: self.layout.identity].view(IMAGE)
        self._identity()
        self._has_pixels = False
        self._raw: list[tuple[int, int, NDArray[Any]]] = []
        self._raw_bytes = 0
        self._held: list[Any] = []
        self._lock = threading.Lock()
        self.ready: Completion | None = None

    @property
    def device_bytes(self) -> int:
        return self.layout.size + self._raw_bytes

    def write(self, index: int, image: Any) -> ImageMeta:
        """Take an image into a row: anything that ``read_image`` takes, or an array on the device, uint8 [H, W, C]."""
        from adaptrt.vision.images import read_image

        if is_on_device(image):
            return self._write_device(index, image)
        pixels = read_image(image, self.form.channels)
        if self._owner.resizes and self._owner.cuda.is_pinned(pixels.__array_interface__["data"][0]):
            return self._write_pinned(index, pixels)
        return self._write_host(index, pixels)

    def fill(self, count: int) -> None:
        """Repeat the last of ``count`` images in the rows after it; afterwards nothing is written."""
        self._records[count:] = self._records[count - 1]
        if self._held:
            self.ready = Completion(self._owner.events, self._owner.stream)

    def send(self, base: int, stream: int) -> None:
        """Copy what was written to ``base``, device memory of ``device_bytes``."""
        cuda = self._owner.cuda
        if self.ready is not None:
            self.ready.wait_on(stream)
        size = self.layout.size if self._has_pixels else self.layout.head
        cuda.copy(base, self.block.pointer, size, cuda.to_device, stream)
        for offset, size, pixels in self._raw:
            cuda.copy(base + offset, pixels.__array_interface__["data"][0], size, cuda.to_device, stream)

    def _identity(self) -> None:
        """A table of taps that copies, for rows and columns."""
        longest = max(self.form.height, self.form.width)
        start = self.layout.identity
        table = self._bytes[start : start + 8 * longest].view(np.int32).reshape(longest, 2)
        table[:, 0], table[:, 1] = np.arange(longest), 1

    def _place(self, shape: Sequence[int]) -> Placement:
        return place((shape[0], shape[1]), self.form.transform, (self.form.height, self.form.width))

    def _write_host(self, index: int, pixels: NDArray[np.uint8]) -> ImageMeta:
        from adaptrt.vision.transforms import visible_pixels

        placement = self._place(pixels.shape)
        visible = visible_pixels(pixels, placement, self.form.transform)
        start = self.layout.pixels(index)
        region = self._bytes[start : start + visible.size].reshape(visible.shape)
        np.copyto(region, visible)
        rows, columns = placement.covered
        height, width = visible.shape[:2]
        self._records[index] = (
            start, 1, width * self.form.channels, rows.start, columns.start, height, width, 1, self.layout.identity,
            self.layout.identity,
        )  # fmt: skip
        self._has_pixels = True
        return placement.meta

    def _write_pinned(self, index: int, pixels: NDArray[np.uint8]) -> ImageMeta:
        placement, taps = self._taps_of(pixels.shape)
        if taps is None:
            return self._write_host(index, pixels)
        size = -(-pixels.nbytes // _ALIGNED) * _ALIGNED
        with self._lock:
            offset = self.layout.size + self._raw_bytes
            self._raw_bytes += size
            self._raw.append((offset, pixels.nbytes, pixels))
        self._write_taps(index, placement, taps, offset, relative=True, width=pixels.shape[1])
        return placement.meta

    def _write_device(self, index: int, image: Any) -> ImageMeta:
        with self._lock:  # the producer's stream and ours are ordered by one event
            view = view_input("image", image, self._owner.stream, self._owner.cuda)
        shape = view.shape
        if view.dtype != np.uint8 or len(shape) != 3 or shape[2] != self.form.channels or not math.prod(shape):
            raise ImageError(
                f"Images on the device must be uint8 [H, W, {self.form.channels}], RGB; got {view.dtype} {list(shape)}.",
                hint="For a torch tensor [3, H, W]: x.permute(1, 2, 0).contiguous()",
            )
        placement, taps = self._taps_of(shape)
        if taps is None or not self._owner.resizes:
            self._owner.resizes_on_host(self.form.transform)
            return self._write_host(index, self._owner.to_host(view.pointer, shape))
        with self._lock:
            self._held.append((view, image))
        self._write_taps(index, placement, taps, view.pointer, relative=False, width=shape[1])
        return placement.meta

    def _taps_of(self, shape: Sequence[int]) -> tuple[Placement, Taps | None]:
        placement = self._place(shape)
        return placement, taps_of(self.form.transform, placement.source[2:], placement.inner, self.form.channels)

    def _write_taps(
        self, index: int, placement: Placement, taps: Taps, start: int, *, relative: bool, width: int
    ) -> None:
        (rows, columns), (down, right) = placement.covered, placement.offset
        above = taps.rows[rows.start - down : rows.stop - down]
        beside = taps.columns[columns.start - right : columns.stop - right]
        at = self.layout.taps(index)
        for table, offset in ((above, at), (beside, at + above.nbytes)):
            self._bytes[offset : offset + table.nbytes].view(np.int32).reshape(table.shape)[...] = table
        top, left = placement.source[:2]
        pitch = width * self.form.channels
        self._records[index] = (
            start + top * pitch + left * self.form.channels, int(relative), pitch, rows.start, columns.start, len(above),
            len(beside), taps.rows.shape[1], at, at + above.nbytes,
        )  # fmt: skip


class DeviceImages:
    """Turns images into the input of one engine. ``warnings`` says why images are prepared on the CPU."""

    def __init__(self, engine: Engine, events: Events, pinned: PinnedPool, capability: str) -> None:
        self.cuda, self.events, self._pinned = engine.cuda, events, pinned
        self._inputs, self._capability = engine.inputs, capability
        self._kernels: Kernels | None = None
        self._values: dict[tuple[ImageTransform, int], DeviceBuffer] = {}
        self._checked: dict[ImageForm, bool] = {}
        self._lock = threading.Lock()
        self.resizes = True
        self.warnings: list[str] = []

    @property
    def stream(self) -> int:
        """For copies and waits outside of calls."""
        return self._pinned.stream.handle

    def batch(self, spec: ModelSpec, rows: int) -> ImageBatch | None:
        """Memory for the images of one call; ``None`` where the CPU has to prepare them."""
        form = self._form(spec, rows)
        if form is None or not self._works(form):
            return None
        return self._new_batch(form)

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

    def resizes_on_host(self, transform: ImageTransform) -> None:
        """Note that images on the device are copied to the host."""
        if self.resizes:
            kind = f"{transform.library} {transform.interpolation}"
            self._warn(
                f"images on the device are resized on the CPU: the kernel does not compute {kind} as the CPU does."
            )

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

    def _form(self, spec: ModelSpec, rows: int) -> ImageForm | None:
        if spec.image is None or len(self._inputs) != 1 or self._inputs[0].on_host:
            return None
        dtype = np.uint8 if spec.image.embedded else np.float32
        if self._inputs[0].name != spec.image.input or self._inputs[0].dtype != dtype:
            return None
        height, width = spec.image_size
        return ImageForm(spec.image, height, width, spec.image_channels, rows)

    def _new_batch(self, form: ImageForm) -> ImageBatch:
        return ImageBatch(self, form, self._pinned.allocate(Layout(form).size))

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
        sizes = [(height + 37, width // 2 + 5), (2 * height, 2 * width), (height // 3 + 1, width + 11)]
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

    def _equal(self, form: ImageForm, images: list[NDArray[np.uint8]], *, resized_here: bool) -> bool:
        from adaptrt.vision.transforms import transform_image

        form = form._replace(rows=len(images))
        batch = self._new_batch(form)
        for index, image in enumerate(images):
            if resized_here:
                batch._write_pinned(index, self._pinned_copy(image))
            else:
                batch._write_host(index, image)
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
