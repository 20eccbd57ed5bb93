"""The interface of all model runners."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.predictions import ImageMeta
    from adaptrt.specs.layouts import BoxFilter
    from adaptrt.specs.model import ModelSpec


@dataclass(frozen=True)
class TensorInfo:
    """A tensor of a runnable model; ``shape`` has numbers, and names or ``None`` for symbolic axes."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]


class Runner(Protocol):
    """Runs a model on arrays; ``backend`` names the implementation in reports."""

    backend: str

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Outputs by name, in the order of the file; the arrays belong to the caller."""
        ...

    def close(self) -> None: ...


class FileRunner(Runner, Protocol):
    """A runner of a file that a backend opened."""

    @property
    def spec(self) -> ModelSpec | None:
        """The spec stored with the file; ``None`` if adaptrt did not write it."""
        ...

    @property
    def warnings(self) -> Sequence[str]:
        """Warnings about running the file on this machine."""
        ...


class ImageBatch(Protocol):
    """Images of one call, on the way to the input of a model. It keeps those that the run reads: the caller may drop them after ``take``.

    It may have ``write_last(image)``, called instead of ``write`` for the only image, by the thread that starts the run next: its pixels may
    be written then, and the run says how many seconds that took.
    """

    def take(self, index: int, image: Any) -> ImageMeta | None:
        """Take an image into a row without work on its pixels, and return where it lies in the input; ``None``: ``write`` it."""
        ...

    def copies(self, threads: int) -> list[Callable[[], Any]]:
        """What is left to do for the images taken, for so many threads; ``fill`` does it otherwise. The images must not change before."""
        ...

    def write(self, index: int, image: Any) -> ImageMeta:
        """Write an image into a row, and return where it lies in the input; safe from several threads, for different rows."""
        ...

    def fill(self, count: int) -> None:
        """Repeat the last of ``count`` images in the rows after it."""
        ...


class StartedRun(Protocol):
    """A run in progress.

    It may have ``preprocessed``, the seconds in which it wrote pixels before it started.
    It may have ``ranked``, after ``result``, instead of outputs: the boxes with a score above the filter's ``conf`` that no better one overlaps,
    the best of each image first, ``max_det`` or more. float32 [B, N, 6]: x1 y1 x2 y2 in input pixels, score, class; zeros where an image has
    fewer. ``None``: there are outputs.
    """

    def result(self) -> dict[str, NDArray[Any]]:
        """Wait for the outputs; once."""
        ...

    def close(self) -> None:
        """Give the run up, unless it has ended."""
        ...


@runtime_checkable
class PreparesImages(Protocol):
    """A runner that preprocesses images itself, with the values of core's own preprocessing, bit for bit.

    It may also have ``concurrent_images``, how many runs should be in progress at once; the default is 1. And
    ``decoded(images)``, which returns the images of a batch, with files that it decodes itself as images in its memory. And
    ``has_loan()``, whether it has lent memory to the calling thread until its next call, which then no other thread can make. And
    ``handed_over(image)``, called in the thread of a call before it is run, by another thread or beside other calls: returns an image on a
    GPU ordered after the work of the calling thread; a NumPy array, of any shape and type, as it is, or as a copy that is faster to send.
    And ``give_back(image)``, called with such a copy once there is a result, when nothing reads it any more.
    """

    def image_batch(self, spec: ModelSpec, rows: int) -> ImageBatch | None:
        """Memory for the images of one call; ``None``: pass arrays to ``run``."""
        ...

    def start_images(
        self, batch: ImageBatch, boxes: BoxFilter | None = None, *, wait: bool = True
    ) -> StartedRun | None:
        """Start a run. With ``boxes``, outputs may lack boxes that the filter excludes, and the order of the others stays; or there are no
        outputs, and boxes are ``ranked``.

        ``None``, only without ``wait``: no run can start before another one has ended.
        """
        ...


def is_on_device(image: Any) -> bool:
    """Whether an array of any library is in the memory of a GPU."""
    device = getattr(image, "__dlpack_device__", None)  # first: CUDA's interface of torch is built anew, ours waits
    try:
        if callable(device) and int(device()[0]) in _CUDA:
            return True
    except (BufferError, RuntimeError, ValueError):  # an array that DLPack cannot describe
        pass
    return hasattr(image, "__cuda_array_interface__")


_CUDA = (2, 13)  # kDLCUDA, kDLCUDAManaged


@runtime_checkable
class AllocatesInputs(Protocol):
    """A runner that allocates memory for inputs, such as page-locked memory: arrays in it are not copied on the host.

    A runner may also have ``concurrent_calls``, how many calls of ``run`` should overlap; the default is 1.
    """

    def input_array(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """An uninitialized array, which may be reused for another call as soon as ``run`` has returned."""
        ...


@dataclass(frozen=True)
class DevicePeak:
    """What a device was measured to do at most: operations per second, two for each multiply-add, and bytes read and written per
    second."""

    operations: float
    bytes: float


@runtime_checkable
class MeasuresPeak(Protocol):
    """A runner that measures the device that it runs on."""

    @property
    def precision(self) -> str | None:
        """The name of the precision that it computes products in; ``None`` if that is not recorded."""
        ...

    def measure_peak(self) -> DevicePeak:
        """In this precision. Raises an ``AdaptrtError`` that says why it is not known."""
        ...


@runtime_checkable
class CallsOnDevice(Protocol):
    """A runner whose file can be measured without copies to and from its device."""

    def device_call(self, inputs: Mapping[str, NDArray[Any]]) -> Callable[[], None]:
        """A call on copies of the inputs in the device's memory, which leaves the outputs there and waits for them."""
        ...


@runtime_checkable
class TimesLayers(Protocol):
    """A runner that measures the layers of its file."""

    def layer_times(self, inputs: Mapping[str, NDArray[Any]], runs: int) -> dict[str, float]:
        """Mean seconds of each layer over ``runs``, by name. The names contain those of the nodes that a layer computes."""
        ...
