"""ONNX Runtime backend: runs the ONNX file that a conversion writes; nothing is built from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from adaptrt.errors import BuildError
from adaptrt.onnxfile.reader import external_files, read_onnx
from adaptrt.onnxfile.shapes import require_shape
from adaptrt.specs import ModelSpec, Precision, Target
from adaptrt.specs.backends import Backend, BackendRequest, Built, Expression, OpenOptions
from adaptrt.specs.descriptions import Description
from adaptrt.specs.runners import FileRunner

# ONNX element types that it computes in on a CPU
_COMPUTED = ("float32", "float16")


class OnnxRuntime:
    """ONNX Runtime accepts a graph for any target; the graph determines the precision."""

    name = "onnxruntime"
    title = "ONNX Runtime"
    suffixes = (".onnx",)
    devices = ("cpu", "cuda")
    by_default = True
    targets: Mapping[str, Target] = MappingProxyType({})

    def unavailable(self, target: Target, device: int = 0) -> str | None:  # noqa: ARG002
        return None if find_spec("onnxruntime") is not None else "onnxruntime is not installed"

    def express(self, precision: Precision, target: Target) -> Expression:  # noqa: ARG002
        return Expression(graph=precision.reduced, runs=precision.onnx_type in _COMPUTED)

    def check_shapes(self, spec: ModelSpec, inputs: Mapping[str, tuple[int, ...]]) -> None:
        for tensor in spec.inputs:
            for shape in tensor.profiles if tensor.name in inputs else ():
                require_shape(f"Input {tensor.name!r}", tensor.name, shape, inputs[tensor.name])

    def build(self, request: BackendRequest) -> Built:
        raise BuildError(
            f"ONNX Runtime has no build step: it runs {request.onnx_path.name} itself.",
            hint="Remove onnxruntime from the backends to build.",
        )

    def open(self, path: Path, options: OpenOptions) -> FileRunner:
        from adaptrt.backends.onnxruntime.runner import OnnxRuntimeRunner

        return OnnxRuntimeRunner(
            path,
            device=options.device or "cpu",
            custom_ops=options.custom_ops,
            optimize=options.optimize,
            threads=options.threads,
        )

    def read_spec(self, path: Path) -> ModelSpec | None:
        return read_onnx(path).spec

    def files_of(self, path: Path) -> Sequence[Path]:
        return (path, *external_files(path, read_onnx(path)))

    def describe(self, path: Path) -> Description:
        from adaptrt.backends.onnxruntime.description import describe

        return describe(path)


BACKEND: Backend = OnnxRuntime()
