"""The ONNX files of one job: each is read and hashed once, regardless of how many stages need it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adaptrt.onnxfile.reader import OnnxFile, read_onnx
from adaptrt.store.hashing import Identity, identity_of
from adaptrt.store.source_files import read_hashed


class OnnxFiles:
    """Outlines, hashes and graphs by path. A file that was rewritten is read again."""

    def __init__(self) -> None:
        self._graphs: dict[Path, tuple[Identity, Any]] = {}
        self._outlines: dict[Path, tuple[Identity, OnnxFile]] = {}
        self._hashes: dict[Path, tuple[Identity, str]] = {}

    def outline(self, path: Path) -> OnnxFile:
        """The outline that ``read_onnx`` returns."""
        key = path.absolute()
        found = self._outlines.get(key)
        if found is None or found[0] != identity_of(path.stat()):
            file = read_onnx(path)
            found = self._outlines[key] = identity_of(path.stat()), file
        return found[1]

    def hold(self, path: Path, graph: Any) -> None:
        """Keep a graph with its weights, as it was just read or written, for the next stage that needs it."""
        self._graphs[path.absolute()] = identity_of(path.stat()), graph

    def held(self, path: Path) -> Any | None:
        """The graph that is kept for a file; ``None`` if there is none."""
        found = self._graphs.get(path.absolute())
        return found[1] if found is not None and found[0] == identity_of(path.stat()) else None

    def release(self) -> None:
        """Free all graphs: no stage before the next ``hold`` needs them."""
        self._graphs.clear()

    def content(self, path: Path) -> str:
        """The hash of the file, which may be of any kind."""
        key = path.absolute()
        found = self._hashes.get(key)
        if found is None or found[0] != identity_of(path.stat()):
            found = self._hashes[key] = read_hashed(path)
        return found[1]
