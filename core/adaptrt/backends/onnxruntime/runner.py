"""ONNX Runtime on the CPU, or on CUDA if ``onnxruntime-gpu`` is installed."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.backends.onnxruntime.saturation import int8_saturates
from adaptrt.errors import DependencyError, ModelError, UsageError, in_shell
from adaptrt.plugins.thread_limits import kept_thread_limits
from adaptrt.specs import METADATA_KEY, ModelSpec
from adaptrt.specs.runners import TensorInfo

try:
    import onnxruntime as ort
except ImportError as error:
    raise DependencyError(
        f"Running ONNX files requires ONNX Runtime, which is not installed: {error}.",
        hint="Install it: pip install 'adaptrt[onnx]'",
    ) from error

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.specs.tensors import Arrays

_DTYPES = {"float": "float32", "double": "float64", "float16": "float16"}


class OnnxRuntimeRunner:
    """Runs an ONNX file. ``device`` is ``cpu``, ``cuda`` or ``cuda:1``; without ``optimize``, graph optimizations are off.
    ``threads``: CPU threads of an operator; ``None``: ONNX Runtime's default, one per core."""

    def __init__(
        self,
        path: Path,
        *,
        device: str = "cpu",
        custom_ops: Sequence[Path] = (),
        optimize: bool = True,
        threads: int | None = None,
    ) -> None:
        self.backend = "onnxruntime" if device == "cpu" else f"onnxruntime ({device})"
        self._path, self._device, self._closed = path, device, False
        self._options: Callable[[], Any] = lambda: _session_options(custom_ops, optimize=optimize, threads=threads)
        options = self._options()
        try:
            self._session = ort.InferenceSession(str(path), options, providers=_providers(device))
        except Exception as error:
            if isinstance(error, DependencyError):
                raise
            said, hint = _load_failure(str(error).strip(), path)
            raise ModelError(f"ONNX Runtime cannot load {path.name}: {said}", hint=hint) from error
        try:  # names and metadata are decoded when they are read
            _ = (self.inputs, self.outputs, self.metadata)
        except UnicodeDecodeError as error:
            raise ModelError(
                f"{path.name} contains text that is not valid UTF-8.",
                hint="Check that the file is complete; convert the model again.",
            ) from error

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        return tuple(map(_info, self._session.get_inputs()))

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        return tuple(map(_info, self._session.get_outputs()))

    @property
    def metadata(self) -> dict[str, str]:
        """The file's ``metadata_props``."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    @property
    def spec(self) -> ModelSpec | None:
        """The spec inside the file; ``None`` in a file that adaptrt did not write."""
        text = self.metadata.get(METADATA_KEY)
        return ModelSpec.from_json(text) if text else None

    warnings: Sequence[str] = ()  # no limitations to report

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        if self._closed:  # ONNX Runtime could go on; a program that uses a closed model would then fail on a GPU only
            raise ModelError(f"{self._path.name} has been closed.", hint="Load it again: adaptrt.load(...)")
        try:
            outputs = self._session.run(None, dict(inputs))
        except Exception as error:
            shapes = ", ".join(f"{name} {tuple(array.shape)} {array.dtype}" for name, array in inputs.items())
            wanted = ", ".join(f"{info.name} {info.shape} {info.dtype}" for info in self.inputs)
            raise ModelError(
                f"ONNX Runtime failed on {shapes}: {(str(error).strip().splitlines() or [type(error).__name__])[0]}",
                hint=f"The file expects {wanted}.",
            ) from error
        return dict(zip((info.name for info in self._session.get_outputs()), outputs, strict=True))

    def layer_times(self, inputs: Arrays, runs: int) -> dict[str, float]:
        """Mean seconds of each node that ONNX Runtime executes over ``runs``, in another session."""
        with tempfile.TemporaryDirectory(prefix="adaptrt-profile-") as folder:
            options = self._options()
            options.enable_profiling, options.profile_file_prefix = True, str(Path(folder, "profile"))
            session = ort.InferenceSession(str(self._path), options, providers=_providers(self._device))
            for _ in range(runs + 1):  # the first run allocates
                session.run(None, dict(inputs))
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        names: dict[str, list[float]] = {}
        for event in events:
            name, ending, _ = event["name"].partition("_kernel_time")
            if event["cat"] == "Node" and ending:
                names.setdefault(name, []).append(event["dur"] / 1e6)
        return {name: sum(times[len(times) // (runs + 1) :]) / runs for name, times in names.items()}

    def close(self) -> None:
        """Refuse further runs; the session is freed with this object."""
        self._closed = True


def _session_options(custom_ops: Sequence[Path], *, optimize: bool, threads: int | None) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 4  # errors are raised as exceptions; do not repeat them on stderr
    if int8_saturates():  # compute in float between Q/DQ pairs, which is exact
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    options.intra_op_num_threads = threads if threads is not None else _threads_of_environment()
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    for library in custom_ops:
        try:
            # a bare name would be searched on the library path, not in the current folder
            options.register_custom_ops_library(str(library.resolve()))
        except Exception as error:
            raise UsageError(
                f"{library} is not a custom operator library: {error}",
                hint="Check the path, and that it was built for this ONNX Runtime.",
            ) from error
    return options


def _threads_of_environment() -> int:
    """``OMP_NUM_THREADS``, which limits torch but not the published builds of ONNX Runtime; 0: as many as there are cores."""
    text = kept_thread_limits.openmp or ""
    return int(text) if text.isdecimal() else 0


_LOAD_FAILURES = (
    (r"Unsupported model IR version.*", "pip install --upgrade onnxruntime, or convert for an older --opset."),
    (r"ONNX Runtime only \*guarantees\*.*", "pip install --upgrade onnxruntime, or convert for an older --opset."),
    (
        r"\S+ is not a registered function/op|No Op registered for .*|Failed to find kernel for .*",
        "A custom operator requires its library: --ort-custom-ops lib.so",
    ),
    (
        r"Protobuf parsing failed.*|ModelProto does not have a graph.*|No graph was found.*",
        "The file is truncated or is not an ONNX file: write it again.",
    ),
)


def _load_failure(text: str, path: Path) -> tuple[str, str]:
    """ONNX Runtime's message, without its source location, and a hint."""
    for pattern, hint in _LOAD_FAILURES:
        found = re.search(pattern, text)
        if found is not None:
            return found[0], hint
    return text.splitlines()[0], f"To inspect the file: adaptrt inspect {in_shell(path)}"


def _providers(device: str) -> list[Any]:
    if device == "cpu":
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        raise DependencyError(
            "This ONNX Runtime has no CUDA support.",
            hint="Install it: pip uninstall onnxruntime; pip install onnxruntime-gpu",
        )
    index = int(device.partition(":")[2] or 0)
    return [("CUDAExecutionProvider", {"device_id": index}), "CPUExecutionProvider"]


def _info(tensor: Any) -> TensorInfo:
    kind = tensor.type.removeprefix("tensor(").removesuffix(")")
    return TensorInfo(tensor.name, _DTYPES.get(kind, kind), tuple(tensor.shape))
