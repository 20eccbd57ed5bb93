"""Files as users name them, models and shared libraries: what every command says of one that is missing, or something else."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from adaptrt.errors import GraphError, ModelError, UsageError, nearest_file

ENGINE_SUFFIXES = (".engine", ".plan", ".trt")
MODEL_SUFFIXES = (".onnx", *ENGINE_SUFFIXES)
CHECKPOINT_SUFFIXES = (".pt", ".pth", ".pt2", ".ckpt", ".safetensors")


def require_model_file(path: Path) -> None:
    """Refuse what is missing, or a folder; what is in the file its reader says."""
    if path.is_dir():
        raise ModelError(f"{path} is a folder.", hint=f"Give a file: {', '.join(MODEL_SUFFIXES)}")
    if not path.is_file():
        raise ModelError(f"There is no file {path}.", hint=nearest_file(path, MODEL_SUFFIXES) or "Check the path.")
    if not os.access(path, os.R_OK):
        raise ModelError(f"{path} cannot be read: permission denied.", hint="Check its permissions.")


def require_libraries(flag: str, libraries: Iterable[str | Path]) -> None:
    """Refuse a shared library that is not there, named by the option that takes it."""
    for library in libraries:
        if not Path(library).is_file():
            raise UsageError(f"{flag}: there is no file {library}.", hint="Give the path of the shared library.")


def convert_first(path: Path) -> str:
    """What to do with a checkpoint where a converted model is wanted."""
    return f"A checkpoint is converted first: adaptrt convert --adapter NAME {path.name}"


def not_onnx(path: Path, detail: str = "") -> GraphError:
    """The error of a file that no graph can be read from."""
    suffix = path.suffix.lower()
    if suffix in CHECKPOINT_SUFFIXES:
        hint = convert_first(path)
    elif suffix in ENGINE_SUFFIXES:
        hint = f"An engine holds no graph any more; what it is shows: adaptrt inspect {path.name}"
    else:
        hint = "Check that the file is whole; convert the model again."
    return GraphError(f"{path.name} is not a readable ONNX file{detail and f': {detail}'}.", hint=hint)
