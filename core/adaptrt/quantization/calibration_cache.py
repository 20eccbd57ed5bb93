"""Thresholds of an earlier calibration, stored in a file with the key of their inputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from adaptrt.errors import OutputError, UsageError
from adaptrt.json_text import formatted_json
from adaptrt.quantization.statistics import Range
from adaptrt.store.workspace import created_folder, follow_link, move_file

_VERSION = 1


@dataclass(frozen=True)
class CalibrationKey:
    """What thresholds depend on: hashes of the graph and of the images with their preprocessing, and the method."""

    graph: str
    images: str
    method: str

    def differences(self, other: CalibrationKey) -> list[str]:
        return [name for name in ("graph", "images", "method") if getattr(self, name) != getattr(other, name)]


@dataclass(frozen=True)
class Calibration:
    """The threshold of each activation, by name, and the range that it came from."""

    key: CalibrationKey
    ranges: dict[str, Range]
    thresholds: dict[str, float]
    images: int = 0
    version: int = field(default=_VERSION)


def read_calibration(path: Path) -> Calibration | None:
    """The calibration in a file; ``None`` if the file does not exist. Raises a ``UsageError`` if it is invalid."""
    import msgspec

    if not path.exists():
        return None
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Calibration)
    except (OSError, msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise UsageError(
            f"{path} is not a calibration cache: {error}.",
            hint="Specify another file with --calib-cache, or remove this one.",
        ) from error
    if found.version != _VERSION:
        raise UsageError(f"{path} has version {found.version} of calibration caches.", hint="Remove the file.")
    return found


def write_calibration(path: Path, calibration: Calibration, workdir: Path) -> None:
    """Write the file, aside in ``workdir`` first: it appears only when complete."""
    aside = workdir / "calibration.json"
    try:
        aside.write_bytes(formatted_json(calibration, indent=1))
        target = follow_link(path)
        with created_folder(target.parent):
            move_file(aside, target)
    except OSError as error:
        raise OutputError(
            f"The calibration cache {path} cannot be written: {error.strerror or error}.",
            hint="Choose another file with --calib-cache.",
        ) from error
