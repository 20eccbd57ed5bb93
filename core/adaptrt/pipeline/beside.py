"""The report beside a converted file, and whether it is of that file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from adaptrt.errors import AdaptrtError, ModelError
from adaptrt.report import Report
from adaptrt.store.hashing import file_sha256

if TYPE_CHECKING:
    from adaptrt.onnxfile.files import OnnxFiles
    from adaptrt.specs.backend_parts import BuildOrigin

SUFFIX = ".report.json"


def report_of(path: Path) -> Report | None:
    """The report of the conversion that wrote this file; ``None`` if it is not next to the file.

    Raises a ``ModelError`` if the report describes a different file.
    """
    found = _beside(path)
    if found is None:
        return None
    beside, report = found
    other = _other(beside, report, path)
    if other is not None:
        raise ModelError(
            _different(beside, other),
            hint="Convert the model again, or restore the file that belongs to the report.",
        )
    return report


def mismatch(path: Path) -> str:
    """What is wrong if the report beside the file describes a different one; empty if there is none, or it cannot be read."""
    try:
        found = _beside(path)
    except (AdaptrtError, OSError):
        return ""
    other = None if found is None else _other(*found, path)
    return "" if found is None or other is None else _different(found[0], other)


def is_replaced(onnx: Path, origin: BuildOrigin, files: OnnxFiles | None = None) -> bool:
    """Whether an ONNX file is not the one that another file was built from, as its backend recorded it."""
    from adaptrt.onnxfile.hashing import onnx_sha256

    return bool(origin.onnx_sha256) and onnx_sha256(onnx, files) != origin.onnx_sha256


def _beside(path: Path) -> tuple[Path, Report] | None:
    stem = path.name
    while "." in stem:
        stem = stem.rpartition(".")[0]
        candidate = path.with_name(stem + SUFFIX)
        if candidate.is_file():
            return candidate, Report.from_json(candidate.read_bytes())
    return None


def _other(beside: Path, report: Report, path: Path) -> Path | None:
    """The file, or the manifest of it, that is not the one that the report describes; ``None`` if both are, or are missing."""
    renamed = f"{path.stem}{SUFFIX}" == beside.name  # if they differ from the report's: together with it
    for file in (path, path.with_name(f"{path.name}.json")):
        records = [(Path(record.path), record.sha256) for record in report.files.values()]
        hashes = [digest for recorded, digest in records if recorded.name == file.name]
        if not hashes and renamed and file == path:
            hashes = [digest for recorded, digest in records if _kind(recorded) == _kind(file)]
        if hashes and file.is_file() and file_sha256(file) not in hashes:
            return file
    return None


def _kind(path: Path) -> str:
    """``rtx.engine``: an engine of another product has the same last suffix."""
    return path.name.partition(".")[2]


def _different(beside: Path, path: Path) -> str:
    return f"{beside.name} describes a different {path.name}: one of the two was changed or replaced."
