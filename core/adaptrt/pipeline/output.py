"""Where a conversion writes: file names, one conversion per name at a time, atomic publishing."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from adaptrt.backends.choice import chosen_backends
from adaptrt.errors import OutputError
from adaptrt.request import BuildRequest, Request
from adaptrt.specs.backends import model_suffixes, suffix_of
from adaptrt.specs.precisions import FP32
from adaptrt.store.model_files import CHECKPOINT_SUFFIXES
from adaptrt.store.workspace import folder_while_used, follow_link, move_file, workspace


@dataclass(frozen=True)
class Destination:
    """The folder and the stem of everything a conversion writes: ``best`` for ``best.onnx``, ``best.engine`` ...

    ``suffixes`` maps the suffix of a backend's files to the user's choice (``.engine`` to ``.plan``);
    all other code uses the original suffixes. ``onnx_stem`` is that of ONNX files, if it differs: for
    ``-o best.fp16.engine`` the float32 graph is ``best.onnx``.
    """

    folder: Path
    stem: str
    suffixes: Mapping[str, str] = field(default_factory=dict)
    onnx_stem: str = ""

    def path(self, suffix: str) -> Path:
        for own, asked in self.suffixes.items():
            if suffix.startswith(own):
                suffix = asked + suffix.removeprefix(own)
                break
        return self.folder / f"{self._stem(suffix)}{suffix}"

    def _stem(self, name: str) -> str:
        return self.onnx_stem if self.onnx_stem and name.endswith(".onnx") else self.stem

    def suffix(self, path: Path) -> str:
        """The suffix that ``path`` was called with for this file."""
        suffix = path.name.removeprefix(self._stem(path.name))
        for own, asked in self.suffixes.items():
            if suffix.startswith(asked):
                return own + suffix.removeprefix(asked)
        return suffix


def destination_of(request: Request) -> Destination:
    """Where a request writes, with the requested suffixes."""
    destination = choose_destination(request.source, request.output, request.precision)
    renamed = {
        one.backend.suffixes[0]: one.suffix for one in chosen_backends(request) if one.suffix != one.backend.suffixes[0]
    }
    return replace(destination, suffixes={**renamed, **_only_graph(request, destination)})


def _only_graph(request: Request, destination: Destination) -> dict[str, str]:
    """``-o`` names the file of a build that writes nothing but the graph in reduced precision."""
    output, reduced = request.output, f".{request.precision}.onnx"
    only = isinstance(request, BuildRequest) and tuple(request.to) == ("onnx",) and request.precision != FP32.name
    if not only or output is None or output.is_dir() or destination.path(reduced) == output or output.suffix != ".onnx":
        return {}
    require_no_input(output, [Path(request.source).resolve()])
    return {reduced: ".onnx"}


def choose_destination(source: str, output: Path | None, precision: str = FP32.name) -> Destination:
    """Next to the source where that is a file, else the current folder, unless ``-o`` names a file or folder.

    ``-o best.fp16.onnx`` for half precision means that file, beside ``best.onnx``; an engine keeps the name it is given.
    """
    source_path = Path(source)
    name = source.rpartition(":")[2] or source  # module:attribute
    stem = source_path.stem if source_path.suffix in _SOURCE_SUFFIXES else name.replace("/", "_")
    stem = stem if stem.strip(". ") else "model"
    if output is None:
        folder = source_path.parent if source_path.is_file() else Path()
        return Destination(folder, stem)
    found = suffix_of(output) if not output.is_dir() and output.suffix else None
    if found is not None:
        backend, suffix = found
        stem = output.name[: -len(suffix)]
        renamed = {backend.suffixes[0]: suffix} if suffix != backend.suffixes[0] else {}
        shorter = stem.removesuffix(f".{precision}") or stem
        if suffix == ".onnx":
            return Destination(output.parent, shorter, renamed)
        return Destination(output.parent, stem, renamed, onnx_stem=shorter if shorter != stem else "")
    if output.suffix and not output.is_dir() and output.suffix[1:].isalpha():
        raise OutputError(
            f"-o {output}: a conversion writes {', '.join(model_suffixes())}, not {output.suffix}.",
            hint=f"For example: -o {output.with_suffix('.onnx')}, or a folder.",
        )
    return Destination(output, stem)


def kind_of(suffix: str) -> str:
    """The name in reports of a file that a backend built: ``engine``, ``engine.json``, ``openvino.xml``."""
    return suffix.removeprefix(".")


_SOURCE_SUFFIXES = {*CHECKPOINT_SUFFIXES, ".onnx", ".py", ".yaml", ".yml"}


@contextmanager
def opened(destination: Destination) -> Iterator[Path]:
    """A temporary work folder next to the destination. It locks the name against other processes until it is removed.

    Folders that had to be created are removed too, if they are still empty.
    """
    folder = destination.folder
    with ExitStack() as stack:
        try:
            stack.enter_context(folder_while_used(folder))
            for suffix in (*model_suffixes(), ".report.json", ".report.html"):
                follow_link(destination.path(suffix))
            workdir = stack.enter_context(workspace(folder, destination.stem))
        except OSError as error:
            raise output_error(error, folder) from error
        yield workdir


def require_folder(folder: Path, flag: str = "-o") -> None:
    """Reject a folder that cannot be created or written to; creates nothing."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        raise output_error(NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)), existing, flag)
    if not os.access(existing, os.W_OK):
        raise output_error(PermissionError(errno.EACCES, os.strerror(errno.EACCES)), existing, flag)


def require_file(path: Path, flag: str = "-o") -> None:
    """Reject a file that cannot be written, before the work for it; creates nothing. A device or a pipe is written directly."""
    if path.is_dir():
        raise output_error(IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)), path, flag)
    if path.is_file() or not path.exists():
        require_folder(path.parent, flag)


def require_no_input(path: Path, inputs: Collection[Path], flag: str = "-o", what: str = "") -> None:
    """Reject an output that would replace an input. ``inputs``: resolved files, and folders of files.

    ``flag`` is the option that names the output, ``what`` the one that requests it, if it is another.
    """
    place = path.resolve()
    if place in inputs or (any(folder in inputs for folder in place.parents) and place.exists()):
        raise OutputError(
            f"{what or flag} would overwrite the input {path}.", hint=f"Choose another name or folder with {flag}."
        )


def publish(files: Mapping[Path, Path], workdir: Path) -> None:
    """Move finished files (destination to file) to their names, all or none.

    Replaced files are kept in ``workdir`` until all moves are done, and are restored if one fails. Each file is
    replaced atomically; a symbolic link stays one.
    """
    targets = [(follow_link(destination), path) for destination, path in files.items()]
    with ExitStack() as undo:
        for number, (target, path) in enumerate(targets):
            kept = workdir / f"replaced.{number}"
            if target.exists():
                undo.callback(_put_back, kept, target)
                _link_or_copy(target, kept)
            else:
                undo.callback(target.unlink, missing_ok=True)
            move_file(path, target)
        undo.pop_all()


def _put_back(kept: Path, destination: Path) -> None:
    if kept.exists():
        move_file(kept, destination)


def _link_or_copy(source: Path, copy: Path) -> None:
    try:
        copy.hardlink_to(source)
    except OSError:  # a file system without hard links
        shutil.copy2(source, copy)


def output_error(error: OSError, folder: Path, flag: str = "-o") -> OutputError:
    """The error to show the user for a file system error; ``flag`` is the option that sets the folder."""
    elsewhere = f"Choose another folder with {flag}."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(
            f"No space left on the device holding {folder}.",
            hint=f"Free some space, or choose another folder with {flag}.",
        )
    if error.errno == errno.EFBIG:
        return OutputError(
            f"A file in {folder} is larger than the limit of this process.", hint="Raise the limit: ulimit -f unlimited"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return OutputError(f"{folder} is not writable.", hint=elsewhere)
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return OutputError(f"{folder} is not a folder.", hint=elsewhere)
    if error.errno == errno.EISDIR:
        return OutputError(f"{error.filename or folder} is a folder.", hint=f"Choose another name with {flag}.")
    return OutputError(f"{folder}: {error.strerror or error}.", hint=elsewhere)
