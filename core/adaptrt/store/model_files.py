"""Model files and shared libraries named by users: common errors for missing or unsuitable files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from adaptrt.errors import GraphError, ModelError, UsageError, nearest_file
from adaptrt.specs.backends import Backend, backend_of, model_suffixes
from adaptrt.specs.registry import skipped_plugins

# names of files that hold weights, or a model with them (.pt2)
CHECKPOINT_SUFFIXES = (".pt", ".pth", ".pth.tar", ".pt2", ".bin", ".ckpt", ".safetensors")

_IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".mp4", ".avi", ".mov")


def require_model_file(path: Path) -> None:
    """Reject a missing file or a folder; the content is checked by the reader."""
    if path.is_dir():
        raise ModelError(f"{path} is a folder.", hint=f"Specify a file with the suffix {', '.join(model_suffixes())}.")
    if not path.is_file():
        raise ModelError(f"File not found: {path}.", hint=nearest_file(path, model_suffixes()) or "Check the path.")
    if not os.access(path, os.R_OK):
        raise ModelError(f"{path} cannot be read: permission denied.", hint="Check its permissions.")


def require_backend(path: Path) -> Backend:
    """The backend that opens this file; a ``ModelError`` says which files can be opened."""
    backend = backend_of(path)
    if backend is None:
        raise ModelError(
            f"{path.name} cannot be opened. Supported suffixes: {', '.join(model_suffixes())}.",
            hint=" ".join(skipped_plugins()) or convert_first(path),
        )
    return backend


def require_libraries(flag: str, libraries: Iterable[str | Path]) -> None:
    """Reject a missing shared library; ``flag`` is the option that named it."""
    for library in libraries:
        if not Path(library).is_file():
            raise UsageError(f"{flag}: file not found: {library}.", hint="Specify the path of the shared library.")


def convert_first(path: Path) -> str:
    """The hint if a checkpoint, or an image, is passed instead of a converted model."""
    if path.suffix.lower() in _IMAGES:
        return f"It is an image: the converted model comes first, as in adaptrt predict FILE.onnx {path.name}"
    return f"Convert a checkpoint first: adaptrt convert --adapter NAME {path.name}"


def not_onnx(path: Path, detail: str = "") -> GraphError:
    """The error for a file without a readable graph."""
    suffix = path.suffix.lower()
    if path.name.lower().endswith(CHECKPOINT_SUFFIXES):
        hint = convert_first(path)
    elif suffix != ".onnx" and backend_of(path) is not None:
        hint = f"A built file contains no ONNX graph. To show its contents: adaptrt inspect {path.name}"
    else:
        hint = "Check that the file is complete, or convert the model again."
    return GraphError(f"{path.name} is not a readable ONNX file{detail and f': {detail}'}.", hint=hint)
