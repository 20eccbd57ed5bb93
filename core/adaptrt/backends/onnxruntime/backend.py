"""ONNX Runtime backend: runs the ONNX file that a conversion writes; nothing is built from it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

from adaptrt.errors import BuildError
from adaptrt.specs import Precision, Target
from adaptrt.specs.backends import Backend, BackendRequest, Built, Expression, OpenOptions
from adaptrt.specs.runners import FileRunner


class OnnxRuntime:
    """ONNX Runtime accepts a graph for any target; the graph determines the precision."""

    name = "onnxruntime"
    title = "ONNX Runtime"
    suffixes = (".onnx",)
    targets: Mapping[str, Target] = MappingProxyType({})

    def unavailable(self, target: Target, device: int = 0) -> str | None:  # noqa: ARG002
        return None if find_spec("onnxruntime") is not None else "onnxruntime is not installed"

    def express(self, precision: Precision, target: Target) -> Expression:  # noqa: ARG002
        return Expression(graph=precision.reduced)

    def build(self, request: BackendRequest) -> Built:
        raise BuildError(
            f"ONNX Runtime has no build step: it runs {request.onnx_path.name} itself.",
            hint="Remove onnxruntime from the backends to build.",
        )

    def open(self, path: Path, options: OpenOptions) -> FileRunner:
        from adaptrt.backends.onnxruntime.runner import OnnxRuntimeRunner

        return OnnxRuntimeRunner(
            path, device=options.device or "cpu", custom_ops=options.libraries, optimize=options.optimize
        )

    def describe(self, path: Path) -> dict[str, Any]:
        from adaptrt.backends.onnxruntime.description import describe

        return dict(vars(describe(path)))


BACKEND: Backend = OnnxRuntime()
