"""A TensorRT engine, ready to run: numpy arrays or arrays on the device, from one thread or from many."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from threading import current_thread
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from adaptrt.backends.tensorrt.device import identify_device
from adaptrt.backends.tensorrt.generations import TENSORRT, Product, import_tensorrt
from adaptrt.backends.tensorrt.manifest import RuntimeEnvironment, check_manifest, check_plan, find_manifest
from adaptrt.backends.tensorrt.runtime.arrays import DeviceArray, InputView, Kept, view_input
from adaptrt.backends.tensorrt.runtime.contexts import ShapePlan, new_plan
from adaptrt.backends.tensorrt.runtime.cuda import Cuda, device_index, stream_handle
from adaptrt.backends.tensorrt.runtime.device_inputs import call_and_wait, on_device
from adaptrt.backends.tensorrt.runtime.engine import Engine, EngineTensor
from adaptrt.backends.tensorrt.runtime.image_batch import ImageBatch
from adaptrt.backends.tensorrt.runtime.image_runs import Finish
from adaptrt.backends.tensorrt.runtime.images import DeviceImages
from adaptrt.backends.tensorrt.runtime.jpeg_files import JpegFiles
from adaptrt.backends.tensorrt.runtime.lanes import Lane, Ownership
from adaptrt.backends.tensorrt.runtime.layer_times import layer_times
from adaptrt.backends.tensorrt.runtime.memory import Completion, DevicePool, Events, PinnedPool
from adaptrt.backends.tensorrt.runtime.pool import LanePool
from adaptrt.errors import ModelError, UsageError, did_you_mean
from adaptrt.forks import prepare_forks
from adaptrt.specs import ModelSpec
from adaptrt.specs.layouts import BoxFilter
from adaptrt.specs.precisions import FP32
from adaptrt.specs.runners import DevicePeak, TensorInfo

_PLANS = 512
KEPT_GRAPHS = 8  # CUDA graphs of a context, by default


class TensorRTRunner:
    """Runs a plan with the full TensorRT, or its lean or dispatch runtime, and cuda-python; torch is not required.

    - ``device``: ``cuda:1``, or 1
    - ``contexts``: at most this many calls run at once; each costs the engine's activation memory
    - ``cuda_graphs``: CUDA graphs kept per context; 0 for none
    - ``outputs``: what ``__call__`` returns: ``owned`` memory, or ``borrowed`` (no copy; valid until the next call of the
      same thread, as is every stream that reads them)
    - ``allow_host_code``: load an engine that contains host code (version-compatible engines do)
    - ``plugin_libs``: libraries with TensorRT plugins; they are code, so those named in the manifest are loaded only if
      given here
    - ``images``: where ``image_batch`` prepares images
    - ``gpu_jpeg``: decode JPEG files on the GPU (nvImageCodec), with pixels that differ a little from those of the CPU
    - ``product``: the library that built it, TensorRT or TensorRT-RTX

    A graph is captured when the same shapes and addresses occur for the second time. During the capture, a few
    milliseconds, CUDA rejects device synchronization in any thread (``torch.cuda.synchronize``): call each shape twice
    before other threads start, or use ``cuda_graphs=0``.

    The manifest beside the plan is checked first; ``manifest`` and ``spec`` are ``None`` for a foreign plan. Close it, or use it as a context manager; owned outputs outlive it.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        device: str | int = 0,
        contexts: int = 4,
        cuda_graphs: int = KEPT_GRAPHS,
        outputs: Ownership = "owned",
        allow_host_code: bool = False,
        plugin_libs: Sequence[str | Path] = (),
        product: Product = TENSORRT,
        images: Literal["gpu", "cpu"] = "gpu",
        gpu_jpeg: bool = False,
    ) -> None:
        path = Path(path)
        if contexts < 1:
            raise UsageError(f"contexts must be at least 1; got {contexts}.")
        if not path.is_file():
            raise ModelError(f"Engine not found: {path}.", hint="Build it: adaptrt build, or adaptrt convert.")
        self._ownership = _ownership(outputs)
        tensorrt = import_tensorrt(product)
        self._cuda = Cuda(device_index(device))
        self.manifest = find_manifest(path)
        self._warnings: list[str] = []
        libraries = [str(library) for library in plugin_libs]
        name, capability = identify_device(self._cuda.device)
        self._capability = capability
        if self.manifest is not None:
            here = RuntimeEnvironment(tensorrt.version, capability, name, tensorrt.flavor, product.name)
            check_plan(self.manifest, path)
            self._warnings += check_manifest(
                self.manifest, path, here, allow_host_code=allow_host_code, plugin_libs=libraries
            )
        self._engine = Engine(
            path.read_bytes(),
            self._cuda,
            tensorrt,
            name=path.name,
            built_with=self.manifest.tensorrt if self.manifest is not None else None,
            allow_host_code=allow_host_code,
            plugin_libs=libraries,
        )
        self.backend = f"{self._engine.tensorrt.title} (cuda:{self._cuda.device})"
        self._events = Events(self._cuda)
        self._device_pool = DevicePool(self._cuda)
        self._pinned = PinnedPool(self._cuda)
        self._graphs = cuda_graphs
        self.concurrent_calls = min(contexts, 2)  # one copies while the other computes
        self.concurrent_images = min(contexts, 3)  # two on the GPU, and one that the host prepares or decodes
        self._plans: dict[tuple[Any, ...], ShapePlan] = {}
        self._names = tuple(tensor.name for tensor in self._engine.inputs)
        self._reads_values = any(tensor.on_host for tensor in self._engine.inputs)
        self._images: DeviceImages | None = None
        if gpu_jpeg and images == "cpu":
            raise UsageError("gpu_jpeg requires images to be preprocessed on the GPU.", hint="Omit cpu_images.")
        self._jpegs: JpegFiles | None = None
        if images == "gpu":
            with self._cuda.current():
                self._jpegs = JpegFiles(self._cuda.device) if gpu_jpeg else None
            self._images = DeviceImages(self._engine, self._events, self._pinned, capability, decodes=gpu_jpeg)
        self._pool = LanePool(self._new_lane, contexts, path.name)
        self._pool.release(self._pool.acquire())  # create one lane now, so that a broken engine fails immediately
        prepare_forks(self)

    def forked(self) -> None:
        """In a forked process, where CUDA does not work: calls raise an ``EngineError``."""
        self._cuda.forked = True
        self._pool.forked()

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        return tuple(map(_info, self._engine.inputs))

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        return tuple(map(_info, self._engine.outputs))

    @property
    def spec(self) -> ModelSpec | None:
        """From the manifest."""
        return self.manifest.spec if self.manifest else None

    @property
    def warnings(self) -> tuple[str, ...]:
        """Limitations of this engine on this machine, found while it ran."""
        prepared = self._images.warnings if self._images is not None else []
        said = [
            *self._warnings,
            *prepared,
            *self._pool.warnings,
            *(text for lane in self._pool.lanes for text in lane.warnings),
        ]
        return tuple(dict.fromkeys(said))

    def input_array(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """An uninitialized array in page-locked memory; ``run`` copies it to the device without another copy."""
        self._pool.require_open()
        return self._pinned.input_array(shape, np.dtype(dtype))

    def decoded(self, images: Sequence[Any]) -> Sequence[Any]:
        """The images of a batch, with files as images in GPU memory where the runner decodes them."""
        if self._jpegs is None or self._images is None:
            return images
        with self._cuda.current():
            return self._jpegs.decoded(images, self._images.stream)

    def image_batch(self, spec: ModelSpec, rows: int) -> ImageBatch | None:
        """Memory for ``rows`` images, which ``start_images`` preprocesses on the GPU; ``None`` if the CPU has to (see ``warnings``)."""
        self._pool.require_open()
        return self._images.batch(spec, rows) if self._images is not None else None

    def handed_over(self, image: Any) -> Any:
        """An image for a run beside other calls, or in another thread: one on the device is ordered after what the calling thread has given to
        its stream, one on the host is copied to page-locked memory.
        """
        self._pool.require_open()  # forked processes do not have that memory
        if self._images is None or isinstance(image, DeviceArray):
            return image
        if isinstance(image, np.ndarray):
            return self._images.page_locked_copy(image)
        stream = self._images.stream
        view = view_input("image", image, stream, self._cuda)
        if not view.ordered:
            return image
        ready = Completion(self._events, stream)
        return DeviceArray("image", view.pointer, view.shape, view.dtype, Kept((view, image)), ready, self._pinned)

    def give_back(self, image: Any) -> None:
        """What ``handed_over`` returned is not needed any more: the memory of a copy may serve the next one."""
        if self._images is not None and isinstance(image, np.ndarray):
            self._images.give_back(image)

    @property
    def decodes_files(self) -> bool:
        """Whether ``decoded`` decodes files itself."""
        return self._jpegs is not None

    def has_loan(self) -> bool:
        """Whether the calling thread has borrowed outputs; its next call runs in their context."""
        return self._pool.has_loan()

    def start_images(
        self, batch: ImageBatch, boxes: BoxFilter | None = None, *, wait: bool = True
    ) -> StartedRun | None:
        """Launch a run on images; the values of the input are those of core's preprocessing on the CPU, bit for bit.

        With ``boxes``, only boxes above a score leave the device where an output of many boxes allows it. ``wait=False``, for a
        thread that has started other runs: ``None`` if it would have to wait for a context.
        """
        assert self._images is not None
        plan = batch.prepared.plan
        if plan is None:
            form, tensor = batch.form, self._engine.inputs[0]
            area = (form.height, form.width)
            shape = (form.rows, *area, form.channels) if form.transform.embedded else (form.rows, form.channels, *area)
            plan = batch.prepared.plan = self._plan([InputView(0, shape, tensor.dtype, None)])
        lane = self._pool.acquire() if wait else self._pool.acquire_free()
        if lane is None:
            return None
        try:
            finish = lane.image_runs(self._images).start(plan, batch, boxes)
        except BaseException:
            self._pool.release(lane)
            raise
        return StartedRun(finish, partial(self._pool.release, lane), batch.late_seconds)

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run on numpy arrays and wait for the result; the caller owns the outputs."""
        lane = self._pool.acquire()
        try:
            views = self._views(inputs, lane.stream.handle)
            return lane.run_host(self._plan(views), views)
        finally:
            self._pool.release(lane)

    def __call__(
        self, inputs: Mapping[str, Any], *, stream: Any = None, outputs: Ownership | None = None
    ) -> dict[str, DeviceArray]:
        """Run on arrays of any library and return device arrays; the host does not wait.

        With ``stream`` (an address, or a stream of torch, cupy, numba or cuda.core) the engine runs on that stream: inputs
        must be ready on it, and outputs are. Without it the engine runs on its own stream, after the streams of the
        inputs, and consumers of an output wait for it. Inputs may be released immediately, but must not be changed before
        the engine has run.
        """
        ownership = self._ownership if outputs is None else _ownership(outputs)
        given = None if stream is None else stream_handle(stream)
        lane = self._pool.acquire()
        loan, lend = object(), False
        try:
            views = self._views(inputs, lane.stream.handle if given is None else given)
            plan = self._plan(views)
            if ownership == "owned":
                return lane.run_device(plan, views, given)
            arrays = lane.run_device(plan, views, given, partial(self._pool.end_loan, current_thread(), loan))
            lend = True
            return arrays
        finally:
            if lend:
                self._pool.lend(lane, loan)
            else:
                self._pool.release(lane)

    def device_call(self, inputs: Mapping[str, NDArray[Any]]) -> Callable[[], None]:
        """For measurements: a call on copies of the inputs in GPU memory, which leaves its outputs there and waits for them."""
        self._pool.require_open()
        return partial(call_and_wait, self, on_device(self._engine.inputs, inputs, self._events, self._pinned))

    @property
    def precision(self) -> str | None:
        """Of products, from the manifest."""
        if self.manifest is None:
            return None
        return (
            "tf32" if self.manifest.precision == FP32.name and self.manifest.options.tf32 else self.manifest.precision
        )

    def measure_peak(self) -> DevicePeak:
        """Of the GPU in this precision, in about a second."""
        from adaptrt.backends.tensorrt.runtime.peak import measure_peak

        return measure_peak(self._cuda, self._capability, self.precision or "an unknown precision")

    def layer_times(self, inputs: Mapping[str, NDArray[Any]], runs: int) -> dict[str, float]:
        """Mean seconds of each layer over ``runs``, without CUDA graphs."""
        lane = self._pool.acquire()
        try:
            views = self._views(inputs, lane.stream.handle)
            return layer_times(lane, self._plan(views), views, runs)
        finally:
            self._pool.release(lane)

    def close(self) -> None:
        """Wait for calls in progress, then free everything. May be called more than once."""
        self._pool.close()
        if self._images is not None:
            self._images.close()
        self._engine.close()

    def __enter__(self) -> TensorRTRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _new_lane(self) -> Lane:
        return Lane(self._engine, self._events, self._device_pool, self._pinned, self._graphs)

    def _views(self, inputs: Mapping[str, Any], stream: int) -> tuple[InputView, ...]:
        """The inputs in the engine's order, their types checked."""
        views = []
        for tensor in self._engine.inputs:
            try:
                given = inputs[tensor.name]
            except KeyError:
                raise self._wrong_names(inputs) from None
            view = view_input(tensor.name, given, stream, self._cuda)
            if view.dtype != tensor.dtype:
                raise UsageError(
                    f"Input {tensor.name!r} is {view.dtype}; the engine expects {tensor.dtype}.",
                    hint=f"Convert it: x.astype({str(tensor.dtype)!r}), or x.to(torch.{tensor.dtype})",
                )
            if tensor.on_host and not view.on_host:
                raise UsageError(
                    f"TensorRT reads input {tensor.name!r} on the host.", hint="Pass a numpy array: x.cpu().numpy()"
                )
            views.append(view)
        if len(inputs) != len(views):
            raise self._wrong_names(inputs)
        return tuple(views)

    def _plan(self, views: Sequence[InputView]) -> ShapePlan:
        shapes = tuple(view.shape for view in views)
        values = self._host_values(views) if self._reads_values else ()
        key = (shapes, values)
        plan = self._plans.get(key)
        if plan is None:
            plan = new_plan(self._engine, tuple(tuple(map(int, shape)) for shape in shapes), values)
            if len(self._plans) >= _PLANS:
                self._plans.pop(next(iter(self._plans)), None)
            self._plans[key] = plan
        return plan

    def _host_values(self, views: Sequence[InputView]) -> tuple[bytes, ...]:
        pairs = zip(self._engine.inputs, views, strict=True)
        return tuple(np.ascontiguousarray(view.owner).tobytes() for tensor, view in pairs if tensor.on_host)

    def _wrong_names(self, inputs: Mapping[str, Any]) -> UsageError:
        unknown = [name for name in inputs if name not in self._names]
        missing = [name for name in self._names if name not in inputs]
        if unknown:
            return UsageError(f"The engine has no input {unknown[0]!r}.", hint=did_you_mean(unknown[0], self._names))
        return UsageError(f"Input {missing[0]!r} is missing.", hint=f"The engine expects {', '.join(self._names)}.")


class StartedRun:
    """A run on the GPU. ``result`` waits for its outputs; call ``close`` instead if they are not needed.

    ``preprocessed``: seconds in which the CPU resized the image, before the run.
    """

    def __init__(self, finish: Finish, release: Callable[[], None], preprocessed: float = 0.0) -> None:
        self._finish: Finish | None = finish
        self._release, self.preprocessed = release, preprocessed
        self.ranked: NDArray[np.float32] | None = None

    def result(self) -> dict[str, NDArray[Any]]:
        """The outputs, owned by the caller; once."""
        finish, self._finish = self._finish, None
        assert finish is not None
        try:
            outputs, self.ranked = finish()
            return outputs
        finally:
            self._release()

    def close(self) -> None:
        """Wait for the run, unless ``result`` did."""
        if self._finish is not None:
            self.result()

    def __del__(self) -> None:
        if self._finish is not None:
            self.result()


def _info(tensor: EngineTensor) -> TensorInfo:
    return TensorInfo(tensor.name, str(tensor.dtype), tuple(None if size < 0 else size for size in tensor.shape))


def _ownership(value: str) -> Literal["owned", "borrowed"]:
    if value == "owned":
        return "owned"
    if value == "borrowed":
        return "borrowed"
    raise UsageError(f"outputs must be 'owned' or 'borrowed'; got {value!r}.")
