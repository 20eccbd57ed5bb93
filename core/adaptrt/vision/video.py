"""Writing videos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.errors import OutputError
from adaptrt.vision.opencv import cv2

if TYPE_CHECKING:
    from adaptrt.vision.images import ImageArray

VIDEO_SUFFIX = ".mp4"
_FALLBACK_RATE = 25.0


class VideoWriter:
    """Writes RGB frames to an MP4 file, which appears under its name when it is closed; ``written`` lists the files.

    If the size of the frames changes, the next file begins: ``clip-2.mp4``; with ``keep_others``, one that does not exist
    yet. Use it as a context manager, or ``close``.
    """

    def __init__(self, path: Path, fps: float | None, *, keep_others: bool = False) -> None:
        self.written: list[Path] = []
        self._path = path
        self._fps = fps or _FALLBACK_RATE
        self._keep_others = keep_others
        self._size: tuple[int, int] | None = None
        self._writer: Any = None

    def write(self, rgb: ImageArray) -> None:
        """Append a frame, uint8 [H, W, 3]."""
        size = (rgb.shape[0], rgb.shape[1])
        if size != self._size:
            self.close()
            self._open(size)
        self._writer.write(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """Complete the file; nothing is written if there were no frames."""
        if self._writer is None:
            return
        writer, self._writer, self._size = self._writer, None, None
        writer.release()
        path = self._next_path()
        try:
            self._aside(path).replace(path)
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror or error}.", hint="Choose another location.") from error  # fmt: skip
        self.written.append(path)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, size: tuple[int, int]) -> None:
        path = self._next_path()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror or error}.", hint="Choose another location.") from error  # fmt: skip
        writer = cv2.VideoWriter(str(self._aside(path)), cv2.VideoWriter_fourcc(*"mp4v"), self._fps, size[::-1])
        if not writer.isOpened():
            raise OutputError(
                f"{path} cannot be written as a video.", hint="Choose another location, or install opencv-python with FFmpeg."
            )  # fmt: skip
        self._writer, self._size = writer, size

    def _next_path(self) -> Path:
        count = len(self.written) + 1
        if count == 1:
            return self._path
        while self._keep_others and self._numbered(count).exists():
            count += 1
        return self._numbered(count)

    def _numbered(self, count: int) -> Path:
        return self._path.with_name(f"{self._path.stem}-{count}{self._path.suffix}")

    def _aside(self, path: Path) -> Path:
        return path.with_name(f".{path.stem}.part{path.suffix}")
