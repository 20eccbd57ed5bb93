"""The files of a benchmark, opened, with what they run on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt.errors import AdaptrtError, ModelError, ShapeError
from adaptrt.onnxfile.graph_spec import spec_of_graph
from adaptrt.onnxfile.reader import read_onnx
from adaptrt.pipeline.bench.records import Form
from adaptrt.pipeline.bench.request import COMPILED, SOURCE_MODEL, BenchRequest
from adaptrt.pipeline.bench.shapes import require_known, spec_at
from adaptrt.pipeline.beside import is_replaced
from adaptrt.pipeline.load import Model, load
from adaptrt.specs.backend_calls import open_runner
from adaptrt.specs.backend_parts import KnowsOrigin, ReplaysGraphs
from adaptrt.specs.backends import Backend, fitting_options, runs_onnx
from adaptrt.specs.runners import AllocatesInputs, MeasuresPeak, Runner
from adaptrt.store.model_files import distinct_names, require_backend, require_converted_file, require_libraries
from adaptrt.vision.examples import example_arrays, image_noise
from adaptrt.vision.images import ImageArray, read_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.specs import InputSpec, ModelSpec

NOISE_SIZE = (720, 1280)


@dataclass(frozen=True)
class OpenForm:
    """An open file. ``model``: with pre- and postprocessing, if it takes images; ``onnx``: what its work is counted from.

    ``source``: it is the model that a file was converted from. ``restore`` is called when it is closed.
    """

    form: Form
    runner: Runner
    spec: ModelSpec
    model: Model | None
    onnx: Path | None
    source: bool = False
    restore: Callable[[], object] | None = None

    @property
    def precision(self) -> str | None:
        """What it computes products in, if it runs on a device that it measures."""
        return self.runner.precision if isinstance(self.runner, MeasuresPeak) else None

    def image(self, request: BenchRequest) -> ImageArray:
        channels = 3 if self.model is None else self.model.channels
        if request.image is not None:
            return read_image(request.image, channels)
        return image_noise(np.random.default_rng(0), NOISE_SIZE, channels)

    def shapes(self, batch: int) -> dict[str, tuple[int, ...]]:
        """The shape of each input; a ``ShapeError`` if the file does not support the batch."""
        return {tensor.name: self._shape(index, tensor, batch) for index, tensor in enumerate(self.spec.inputs)}

    def _shape(self, index: int, tensor: InputSpec, batch: int) -> tuple[int, ...]:
        profile = next((one for one in tensor.profiles if one and batch in one[0]), tensor.profiles[0])
        if not profile or not (index == 0 or self.spec.is_batch(0, profile[0])):
            return tuple(axis.opt for axis in profile)
        if batch not in profile[0]:
            if index and not profile[0].dynamic:  # an input without a batch axis
                return tuple(axis.opt for axis in profile)
            axis = tensor.dims[0]
            raise ShapeError(
                f"{self.form.name} supports a batch of {axis.min}{f' to {axis.max}' if axis.dynamic else ''}; got {batch}.",
                hint=f"Use --batch {axis.max}, or convert the model for other batches.",
            )
        return (batch, *(axis.opt for axis in profile[1:]))

    def arrays(self, batch: int, image: Path | None) -> Mapping[str, NDArray[Any]]:
        """Inputs for the file alone, in the runner's own memory if it has some; every row is the same."""
        shapes = self.shapes(batch)
        single = {name: (1, *shape[1:]) if shape and shape[0] == batch else shape for name, shape in shapes.items()}
        arrays = example_arrays(self.spec, single, 0, image if self.spec.image is not None else None)
        filled = {}
        for name, array in arrays.items():
            held = (
                self.runner.input_array(shapes[name], array.dtype)
                if isinstance(self.runner, AllocatesInputs)
                else np.empty(shapes[name], array.dtype)
            )
            held[...] = array
            filled[name] = held
        return filled

    def close(self) -> None:
        self.runner.close()
        if self.restore is not None:
            self.restore()


def open_forms(request: BenchRequest) -> list[OpenForm]:
    """All files, open; an engine twice if it is measured with and without CUDA graphs."""
    for file in request.files:
        if file not in SOURCE_MODEL:
            require_converted_file(Path(file), SOURCE_MODEL)
    require_libraries("--plugin-lib", request.options.plugin_libs)
    require_libraries("--ort-custom-ops", request.options.custom_ops)
    opened: list[OpenForm] = []
    try:
        for file, name in zip(request.files, distinct_names(request.files), strict=True):
            if file in SOURCE_MODEL:
                opened.append(_source_model(request, file))
                continue
            backend = require_backend(Path(file))
            replays = _replays(backend)
            for graphs in _settings(request) if replays else (True,):
                title = f"{name}, CUDA graphs {'on' if graphs else 'off'}" if replays else name
                opened.append(_open(Path(file), title, backend, request, cuda_graphs=graphs))
        known = dict.fromkeys(tensor.name for one in opened for tensor in one.spec.inputs)
        require_known(request.shapes.shapes, list(known), [name for name in request.files if name not in SOURCE_MODEL])
    except BaseException:
        for one in opened:
            one.close()
        raise
    return opened


def has_graphs(request: BenchRequest) -> bool:
    """Whether ``cuda_graphs`` changes how one of the files runs."""
    return any(file not in SOURCE_MODEL and _replays(require_backend(Path(file))) for file in request.files)


def _replays(backend: Backend) -> bool:
    return isinstance(backend, ReplaysGraphs) and backend.cuda_graphs


def _settings(request: BenchRequest) -> tuple[bool, ...]:
    return {"on": (True,), "off": (False,), "both": (True, False)}[request.cuda_graphs]


def _open(path: Path, name: str, backend: Backend, request: BenchRequest, *, cuda_graphs: bool) -> OpenForm:
    options = fitting_options(backend, replace(request.options, cuda_graphs=cuda_graphs))
    on_cpu = _device(request, backend).partition(":")[0] == "cpu"
    try:
        model = load(path, options, plugins_file=request.plugins_file)
    except ModelError as without:
        if not runs_onnx(backend):
            raise
        runner = open_runner(backend, path, options)  # a damaged file fails here as well
        try:
            spec = spec_of_graph(read_onnx(path), request.shapes)
        except AdaptrtError:
            runner.close()
            raise
        form = Form(name, str(path), runner.backend, on_cpu, path.name, (without.message,))
        return OpenForm(form, runner, spec, None, path)
    _narrow(model, request, path.name)
    onnx, work = _counted_from(path, backend)
    form = Form(name, str(path), model.runner.backend, on_cpu, work, tuple(model.warnings))
    return OpenForm(form, model.runner, model.spec, model if model.spec.image is not None else None, onnx)


def _source_model(request: BenchRequest, name: str) -> OpenForm:
    from adaptrt.pipeline.reference import load_reference, origin_missing

    path = Path(next(file for file in request.files if file not in SOURCE_MODEL))
    if request.origin is None:
        raise origin_missing(path, ("adaptrt", "bench", *request.files))
    device, note = _device_of_source(request, require_backend(path))
    compiled = name == COMPILED
    model = load_reference(path, request.origin, plugins_file=request.plugins_file, compiled=compiled, device=device)
    _narrow(model, request, name)
    restore = None
    if request.options.threads is not None:
        import torch

        restore = partial(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(request.options.threads)
    onnx, work = _counted_from(path, require_backend(path))
    form = Form(name, request.origin.source, model.runner.backend, device == "cpu", work, note)
    return OpenForm(
        form, model.runner, model.spec, model if model.spec.image is not None else None, onnx, True, restore
    )


def _narrow(model: Model, request: BenchRequest, name: str) -> None:
    """Let the model have the shapes of ``--shape``, or close it."""
    try:
        model.spec = spec_at(model.spec, request.shapes.shapes, name)
    except AdaptrtError:
        model.close()
        raise


def _device(request: BenchRequest, backend: Backend) -> str:
    """Where a file of the backend runs."""
    return fitting_options(backend, request.options).device or backend.devices[0]


def _device_of_source(request: BenchRequest, backend: Backend) -> tuple[str, tuple[str, ...]]:
    """Where the source model runs: where the file does that it is compared with, or a warning why not."""
    device = _device(request, backend)
    kind, _, index = device.partition(":")
    if kind != "cuda":
        return "cpu", ()
    import torch

    if not (index or "0").isdigit() or int(index or 0) >= torch.cuda.device_count():
        return "cpu", ("the model runs on the CPU: torch does not see the GPU",)
    return device, ()


def _counted_from(path: Path, backend: Backend) -> tuple[Path | None, str]:
    """The ONNX file that operations are counted from, and its name or why there is none."""
    if find_spec("onnx") is None:
        return None, "unknown: onnx is not installed"
    if runs_onnx(backend):
        return path, path.name
    origin = backend.origin_of(path) if isinstance(backend, KnowsOrigin) else None
    if origin is None:
        return None, "unknown: what the file was built from is not recorded"
    found = path.with_name(Path(origin.onnx).name)
    if not found.is_file():
        return None, f"unknown: {found.name} is not beside the file"
    if is_replaced(found, origin):
        return None, f"unknown: {found.name} is not identical to the file that {path.name} was built from"
    return found, found.name
