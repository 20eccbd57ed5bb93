"""The files of a model: its own, and those that it does not run without."""

from __future__ import annotations

from pathlib import Path

from adaptrt.onnxfile.reader import present_files, read_onnx
from adaptrt.specs.backend_parts import HasFilesBeside
from adaptrt.specs.backends import backend_of, runs_onnx


def files_of(model: Path) -> tuple[Path, ...]:
    """The model, then a manifest or weights next to it, or the external data of an ONNX file; a ``UsageError`` if such data are missing."""
    backend = backend_of(model)
    if backend is not None and runs_onnx(backend):
        return (model, *present_files(model, read_onnx(model)))
    return (model, *backend.files_beside(model)) if isinstance(backend, HasFilesBeside) else (model,)
