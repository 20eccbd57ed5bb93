"""The ONNX files of one job, each read and hashed once, however many stages ask."""

from __future__ import annotations

from pathlib import Path

from adaptrt.onnxfile.reader import OnnxFile, read_onnx
from adaptrt.store.source_files import Identity, identity_of, read_hashed


class OnnxFiles:
    """Outlines and hashes by path. A file that was written again, by its identity, is read again."""

    def __init__(self) -> None:
        self._outlines: dict[Path, tuple[Identity, OnnxFile]] = {}
        self._hashes: dict[Path, tuple[Identity, str]] = {}

    def outline(self, path: Path) -> OnnxFile:
        """What ``read_onnx`` reads of the file."""
        key = path.absolute()
        found = self._outlines.get(key)
        if found is None or found[0] != identity_of(path.stat()):
            file = read_onnx(path)
            found = self._outlines[key] = identity_of(path.stat()), file
        return found[1]

    def content(self, path: Path) -> str:
        """The hash of the file, which may be of any kind."""
        key = path.absolute()
        found = self._hashes.get(key)
        if found is None or found[0] != identity_of(path.stat()):
            found = self._hashes[key] = read_hashed(path)
        return found[1]
