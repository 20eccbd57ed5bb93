"""A backend for tests: its file is a copy of the ONNX file, which ONNX Runtime runs; ``shift`` makes it wrong."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptrt.specs import Precision, Target
from adaptrt.specs.backends import BackendRequest, Built, Expression, OpenOptions
from adaptrt.specs.descriptions import Description, Tensor


@dataclass(frozen=True)
class Record:
    copied: bool = True


class Copying:
    name = "copying"
    title = "Copying"
    suffixes = (".copy.bin",)
    devices = ("cpu",)
    targets: Mapping[str, Target] = {}

    def __init__(self) -> None:
        self.requests: list[BackendRequest] = []
        self.missing: str | None = None
        self.shift = 0.0
        self.opened: list[OpenOptions] = []

    def unavailable(self, target: Target, device: int = 0) -> str | None:
        return self.missing

    def express(self, precision: Precision, target: Target) -> Expression:
        return Expression(graph=precision.reduced)

    def build(self, request: BackendRequest) -> Built:
        self.requests.append(request)
        shutil.copy(request.onnx_path, request.output)
        return Built(
            files={".copy.bin": request.output},
            record=Record(),
            summary="copied",
            facts={"made by": "a copy"},
            notes=["a note"],
        )

    def open(self, path: Path, options: OpenOptions) -> Any:
        from adaptrt.backends.onnxruntime.runner import OnnxRuntimeRunner

        self.opened.append(options)
        runner, shift = OnnxRuntimeRunner(path), self.shift
        runner.backend = "copying"
        if shift:
            run = runner.run
            runner.run = lambda inputs: {name: array + shift for name, array in run(inputs).items()}  # type: ignore[method-assign]
        return runner

    def describe(self, path: Path) -> Description:
        inputs = [Tensor("images", "float32", (1, 3))]
        return Description(str(path), "a copy", path.stat().st_size, inputs=inputs)


BACKEND = Copying()
