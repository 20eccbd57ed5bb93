"""Images as the input of an engine: bytes cross the bus, and a kernel writes the network's values, bit for bit those of the CPU.

Images in device or page-locked memory are resized by the kernel if its arithmetic gives OpenCV's pixels, else on the CPU. Of an image in
pageable memory, the rows that have a weight are copied to page-locked memory, or the CPU resizes it, whichever is faster on the machine;
where several threads call, the thread of a call copies its image first.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptrt.backends.tensorrt.runtime.compiled import Argument, Kernels, integer, kernels_for, pointer
from adaptrt.backends.tensorrt.runtime.engine import Engine
from adaptrt.backends.tensorrt.runtime.image_batch import ImageBatch
from adaptrt.backends.tensorrt.runtime.memory import DeviceBuffer, Events, PinnedPool
from adaptrt.backends.tensorrt.runtime.placed_images import ImageForm, Prepared
from adaptrt.errors import AdaptrtError, DependencyError, EngineError, ModelError
from adaptrt.specs import ImageTransform, ModelSpec

_SPECS = 32
_BLOCK = (32, 8, 1)
_IDLE = 16  # pieces of memory for copies that are kept


class DeviceImages:
    """Turns images into the input of one engine. ``warnings`` says why images are prepared on the CPU.

    ``decodes``: other work than copies that are waited for, such as decoding images, is given to ``stream``.
    """

    def __init__(
        self, engine: Engine, events: Events, pinned: PinnedPool, capability: str, *, decodes: bool = False
    ) -> None:
        self.decodes = decodes
        self.stream = pinned.stream.handle
        """For copies and waits outside of calls."""
        self.cuda, self.events, self._pinned = engine.cuda, events, pinned
        self._inputs, self._capability = engine.inputs, capability
        self._kernels: Kernels | None = None
        self._values: dict[tuple[ImageTransform, int], DeviceBuffer] = {}
        self._checked: dict[ImageForm, bool] = {}
        self._prepared: dict[tuple[int, int], tuple[ModelSpec, Prepared | None]] = {}
        self._lock = threading.Lock()
        self._idle: list[tuple[NDArray[np.uint8], int]] = []
        """Page-locked memory for copies, kept, with addresses: to take it from the pool needs the interpreter lock for longer than all else here."""
        self._lent: set[int] = set()
        """Addresses of copies in use."""
        self.resizes = True
        self.warnings: list[str] = []

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

    def is_page_locked(self, address: int) -> bool:
        """Whether the dense array that begins there is in page-locked memory, ours or that of others."""
        return self._pinned.has_input(address) or self.cuda.is_pinned(address)

    def to_host(self, address: int, shape: Sequence[int]) -> NDArray[np.uint8]:
        """A copy of an image on the device."""
        size = math.prod(shape)
        block = self._pinned.allocate(size)
        self.cuda.copy(block.pointer, address, size, self.cuda.to_host, self.stream)
        self.cuda.synchronize(self.stream)
        return self._pinned.array(block, tuple(shape), np.dtype(np.uint8))

    def page_locked_copy(self, image: NDArray[Any]) -> NDArray[Any]:
        """A copy of an image in page-locked memory; the image itself if it is page-locked, if no more memory can be, or if the CPU resizes it."""
        if self._kernels is None or not self.resizes or image.dtype != np.uint8 or image.ndim != 3 or not image.size:
            return image
        if image.flags.c_contiguous and self.is_page_locked(_address(image)):
            return image
        size = image.size
        try:
            memory, address = self._idle.pop()
        except IndexError:
            memory = None
        if memory is None or memory.size < size:
            memory = self._copy_memory(1 << (size - 1).bit_length())
            if memory is None:
                return image
            address = _address(memory)
        copy = memory[:size].reshape(image.shape)
        self._lent.add(address)
        # last: the thread has to wait for the interpreter lock afterwards
        np.copyto(copy, image)
        return copy

    def give_back(self, copy: NDArray[Any]) -> None:
        """The memory of a copy may serve another one: what read it has ended. No-op for other arrays."""
        address = _address(copy)
        if address in self._lent:
            self._lent.discard(address)
            if copy.base is not None and len(self._idle) < _IDLE:
                self._idle.append((copy.base, address))

    def _copy_memory(self, size: int) -> NDArray[np.uint8] | None:
        """``None`` if the system does not lock more memory, or too much is."""
        try:
            memory = self._pinned.input_array((size,), np.dtype(np.uint8))
        except EngineError:
            return None
        return memory if self._pinned.has_input(_address(memory)) else None

    def _pinned_copy(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        copy = self._pinned.input_array(image.shape, image.dtype)
        np.copyto(copy, image)
        return copy

    def close(self) -> None:
        with self._lock:  # a first call may still compare the kernel with the CPU
            self._values.clear()
            self._idle.clear()
            self._forget()

    def _forget(self) -> None:
        for _, prepared in self._prepared.values():
            if prepared is not None:
                prepared.idle.clear()  # they refer to it
        self._prepared.clear()

    def _form(self, spec: ModelSpec, rows: int) -> ImageForm | None:
        if spec.image is None or len(self._inputs) != 1 or self._inputs[0].on_host:
            return None
        if spec.image.library == "torch":
            self._warn("images are prepared on the CPU: the kernel does not resize in float32, as library torch does.")
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


def _address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])
