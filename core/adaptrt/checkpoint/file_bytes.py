"""The format of torch before 1.6: its first numbers, and its file, read forward piece by piece."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from adaptrt.checkpoint.machine import PickleError

if TYPE_CHECKING:
    from io import FileIO

    import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
WINDOW = 1 << 20


class FileBytes:
    """A file read forward, piece by piece, so that unread parts take no memory."""

    def __init__(self, file: FileIO) -> None:
        self.file = file
        self.size = file.seek(0, 2)
        self.start = 0
        self.window = b""

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, part: slice) -> bytes:
        start, end = part.start, min(part.stop, self.size)
        if not (self.start <= start and end <= self.start + len(self.window)):
            self.window = self._piece(start, max(end - start, WINDOW))
            self.start = start
        return self.window[start - self.start : end - self.start]

    def find(self, wanted: bytes, start: int) -> int:
        """The end of a line; lines longer than ``WINDOW`` are not found."""
        return place + start if (place := self[start : start + WINDOW].find(wanted)) >= 0 else -1

    def read_into(self, start: int, target: np.ndarray[Any, Any]) -> int:
        """Fill the array from ``start``; return the position after it."""
        self.file.seek(start)
        view = memoryview(cast("Any", target))
        while view:
            count = self.file.readinto(view)
            if not count:
                raise PickleError("the file is truncated")
            view = view[count:]
        return start + target.nbytes

    def _piece(self, start: int, count: int) -> bytes:
        self.file.seek(start)
        piece = self.file.read(count) or b""
        while len(piece) < count and (more := self.file.read(count - len(piece))):
            piece += more
        return piece
