"""A backend for tests: its file is a copy of the ONNX file, which ONNX Runtime runs; ``shift`` makes it wrong."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adaptrt.specs import Precision, Target
from adaptrt.specs.backends import BackendRequest, Built, Expression, OpenOptions


class Copying:
    name = "copying"
    title = "Copying"
    suffixes = (".copy.bin",)
    targets: Mapping[str, Target] = {}

    def __init__(self) -> None:
        self.requests: list[BackendRequest] = []
        self.missing: str | None = None
        self.shift = 0.0

    def unavailable(self, target: Target, device: int = 0) -> str | None:
        return self.missing

    def express(self, precision: Precision, target: Target) -> Expression:
        return Expression(graph=precision.reduced)

    def build(self, request: BackendRequest) -> Built:
        self.requests.append(request)
        shutil.copy(request.onnx_path, request.output)
        return Built(files={".copy.bin": request.output}, record={"copied": True}, summary="copied", notes=["a note"])

    def open(self, path: Path, options: OpenOptions) -> Any:
        from adaptrt.backends.onnxruntime.runner import OnnxRuntimeRunner

        runner, shift = OnnxRuntimeRunner(path), self.shift
        runner.backend = "copying"
        if shift:
            run = runner.run
            runner.run = lambda inputs: {name: array + shift for name, array in run(inputs).items()}  # type: ignore[method-assign]
        return runner

    def describe(self, path: Path) -> dict[str, Any]:
        return {"kind": "a copy", "inputs": [{"name": "images", "dtype": "float32", "shape": (1, 3)}]}


BACKEND = Copying()
