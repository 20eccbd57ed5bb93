"""The report beside a converted file, and whether it is of that file."""

from __future__ import annotations

from pathlib import Path

from adaptrt.errors import AdaptrtError, ModelError
from adaptrt.report import Report
from adaptrt.store.hashing import file_sha256

SUFFIX = ".report.json"


def report_of(path: Path) -> Report | None:
    """The report of the conversion that wrote this file; ``None`` if it is not next to the file.

    Raises a ``ModelError`` if the report describes a different file.
    """
    found = _beside(path)
    if found is None:
        return None
    beside, report = found
    if not _describes(report, path):
        raise ModelError(
            _different(beside, path),
            hint="Convert the model again, or restore the file that belongs to the report.",
        )
    return report


def mismatch(path: Path) -> str:
    """What is wrong if the report beside the file describes a different one; empty if there is none, or it cannot be read."""
    try:
        found = _beside(path)
    except (AdaptrtError, OSError):
        return ""
    return _different(found[0], path) if found is not None and not _describes(found[1], path) else ""


def _beside(path: Path) -> tuple[Path, Report] | None:
    stem = path.name
    while "." in stem:
        stem = stem.rpartition(".")[0]
        candidate = path.with_name(stem + SUFFIX)
        if candidate.is_file():
            return candidate, Report.from_json(candidate.read_bytes())
    return None


def _describes(report: Report, path: Path) -> bool:
    hashes = [record.sha256 for record in report.files.values() if Path(record.path).name == path.name]
    return not hashes or not path.is_file() or file_sha256(path) in hashes


def _different(beside: Path, path: Path) -> str:
    return f"{beside.name} describes a different {path.name}: one of the two was changed or replaced."
