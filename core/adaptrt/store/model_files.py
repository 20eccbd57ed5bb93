"""Model files, labeled images and shared libraries named by users: common errors for missing or unsuitable files."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from adaptrt.errors import EngineError, GraphError, ModelError, UsageError, in_shell, nearest_file, nearest_name
from adaptrt.specs.backends import Backend, backend_of, model_suffixes
from adaptrt.specs.registry import skipped_plugins

# names of files that hold weights, or a model with them (.pt2)
CHECKPOINT_SUFFIXES = (".pt", ".pth", ".pth.tar", ".pt2", ".bin", ".ckpt", ".safetensors")

_IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".mp4", ".avi", ".mov")


def require_model_file(path: Path, words: Iterable[str] = ()) -> None:
    """Reject a missing file or a folder; the content is checked by the reader. ``words``: what the user may have meant instead of a file."""
    if path.is_dir():
        raise ModelError(f"{path} is a folder.", hint=f"Specify a file with the suffix {', '.join(model_suffixes())}.")
    if not path.is_file():
        hint = nearest_name(str(path), words) or nearest_file(path, model_suffixes())
        raise ModelError(f"File not found: {path}.", hint=hint or "Check the path.")
    if not os.access(path, os.R_OK):
        raise ModelError(f"{path} cannot be read: permission denied.", hint="Check its permissions.")


def require_graph_file(path: Path) -> None:
    """Also reject a file whose name says that it holds no ONNX graph."""
    require_model_file(path)
    if _is_source(path) or _is_built(path):
        raise not_onnx(path)


def require_engine_file(path: Path) -> None:
    """Also reject a file whose name says that it is not an engine."""
    require_model_file(path)
    if _is_source(path) and path.suffix.lower() != ".bin":
        raise EngineError(f"{path.name} is not an engine.", hint=convert_first(path))


def require_converted_file(path: Path, words: Iterable[str] = ()) -> None:
    """Also reject a file that no backend opens."""
    require_model_file(path, words)
    require_backend(path)


def distinct_names(files: Sequence[str]) -> list[str]:
    """The name of each file, or its path where names are the same; numbered if the same file is given twice."""
    names, paths, seen = Counter(Path(file).name for file in files), Counter(files), Counter[str]()
    found = []
    for file in files:
        seen[file] += 1
        name = Path(file).name if names[Path(file).name] == 1 else file
        found.append(name if paths[file] == 1 else f"{name} ({seen[file]})")
    return found


def require_backend(path: Path) -> Backend:
    """The backend that opens this file; a ``ModelError`` says which files can be opened."""
    backend = backend_of(path)
    if backend is None:
        raise ModelError(
            f"{path.name} cannot be opened. Supported suffixes: {', '.join(model_suffixes())}.",
            hint=" ".join(skipped_plugins()) or convert_first(path),
        )
    return backend


def require_labeled_images(data: Path, images: Path | None = None) -> None:
    """Reject missing labeled images (``--data``), or a missing folder of their images."""
    for path, hint in (
        (data, "--data names labeled images, as adaptrt evaluate --help describes them."),
        (images, "Check the path to the folder of the images."),
    ):
        if path is not None and not path.exists() and not glob.has_magic(str(path)):
            raise UsageError(f"Not found: {path}.", hint=nearest_file(path) or hint)


def require_libraries(flag: str, libraries: Iterable[str | Path]) -> None:
    """Reject a missing shared library; ``flag`` is the option that named it."""
    for library in libraries:
        if not Path(library).is_file():
            raise UsageError(f"{flag}: file not found: {library}.", hint="Specify the path of the shared library.")


def convert_first(path: Path) -> str:
    """The hint if a checkpoint, or an image, is passed instead of a converted model."""
    if path.suffix.lower() in _IMAGES:
        return f"It is an image: the converted model comes first, as in adaptrt predict FILE.onnx {in_shell(path)}"
    return f"Convert a checkpoint first: adaptrt convert {in_shell(path)}"


def _is_source(path: Path) -> bool:
    """Whether its name is that of a checkpoint, or of an image or video."""
    return path.name.lower().endswith((*CHECKPOINT_SUFFIXES, *_IMAGES))


def _is_built(path: Path) -> bool:
    return path.suffix.lower() != ".onnx" and backend_of(path) is not None


def not_onnx(path: Path, detail: str = "") -> GraphError:
    """The error for a file without a readable graph."""
    if _is_source(path):
        hint = convert_first(path)
    elif _is_built(path):
        hint = f"A built file contains no ONNX graph. To show its contents: adaptrt inspect {in_shell(path)}"
    else:
        hint = "Check that the file is complete, or convert the model again."
    return GraphError(f"{path.name} is not a readable ONNX file{detail and f': {detail}'}.", hint=hint)
