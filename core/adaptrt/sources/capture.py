"""Videos, cameras and network streams, read with OpenCV."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from adaptrt.errors import ImageError
from adaptrt.sources.frames import Frame
from adaptrt.specs.image_files import without_password

if TYPE_CHECKING:
    from adaptrt.vision.images import ImageArray

TRIES = 10
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
TIMEOUT = 10.0
_GRABS = 8  # grabs of a video that may fail in a row before it counts as ended


class Capture(Protocol):
    """The part of ``cv2.VideoCapture`` that is used."""

    def isOpened(self) -> bool: ...  # noqa: N802
    def grab(self) -> bool: ...
    def retrieve(self) -> tuple[bool, Any]: ...
    def get(self, prop: int) -> float: ...
    def release(self) -> None: ...


def open_capture(target: str | int) -> Capture:
    """A camera (its index), a video file or a network stream; network streams give up after a time."""
    from adaptrt.vision.opencv import cv2

    if isinstance(target, str) and "://" in target:
        timeout = int(1000 * TIMEOUT)
        options = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, timeout, cv2.CAP_PROP_READ_TIMEOUT_MSEC, timeout]
        capture: Capture = cv2.VideoCapture(target, cv2.CAP_FFMPEG, options)
        return capture
    return cv2.VideoCapture(target)  # type: ignore[no-any-return]


def _to_channels(bgr: Any, channels: int | None) -> ImageArray:
    from adaptrt.vision.images import read_image
    from adaptrt.vision.opencv import cv2

    return read_image(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), channels)


def _frame_rate(capture: Capture) -> float | None:
    from adaptrt.vision.opencv import cv2

    rate = capture.get(cv2.CAP_PROP_FPS)
    return rate if 0 < rate < 1000 else None  # some containers declare 90000


# what files of these formats begin with, and from which byte
_CONTAINERS = (
    (4, b"ftyp"),
    (4, b"moov"),
    (4, b"mdat"),
    (4, b"wide"),
    (4, b"free"),
    (0, b"\x1a\x45\xdf\xa3"),  # Matroska, WebM
    (8, b"AVI "),
    (0, b"\x00\x00\x01\xba"),
    (0, b"\x00\x00\x01\xb3"),
    (0, b"\x47"),  # MPEG transport stream
    (4, b"\x47"),  # the same, with time codes
    (0, b"FLV"),
    (0, b"OggS"),
    (0, b"\x30\x26\xb2\x75"),  # ASF, WMV
)


def require_video(path: Path) -> None:
    """Reject what is not a container of frames: a playlist under any name could make FFmpeg open other files and URLs."""
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror or error}.") from error
    if not head:
        raise ImageError(f"{path} is empty.", hint="Copy or download it again.")
    if not any(head[start : start + len(magic)] == magic for start, magic in _CONTAINERS):
        raise ImageError(
            f"{path} is not a video file.", hint="Supported: MP4, MOV, AVI, MKV, WebM, MPEG, TS, FLV, Ogg and WMV."
        )


class VideoSource:
    """A video file: every frame, in order."""

    live = False
    still = False

    def __init__(self, path: Path, channels: int | None = 3, name: str | None = None) -> None:
        self.path = path
        self.name = name or str(path)
        self.fps: float | None = None
        self._channels = channels
        self._closed = threading.Event()

    def frames(self) -> Iterator[Frame]:
        from adaptrt.vision.opencv import cv2

        require_video(self.path)
        capture = open_capture(str(self.path))
        try:
            if not capture.isOpened():
                raise ImageError(
                    f"{self.name} cannot be opened as a video.",
                    hint="The file may be incomplete, or OpenCV lacks its codec: convert it to H.264.",
                )
            self.fps = _frame_rate(capture)
            declared = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
            index = 0
            while not self._closed.is_set():
                if not any(capture.grab() for _ in range(_GRABS)):
                    break
                timestamp = round(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000, 6)
                done, bgr = capture.retrieve()
                if done:
                    pixels = _to_channels(bgr, self._channels)
                    yield Frame(source=self.name, index=index, timestamp=timestamp, pixels=pixels)
                else:
                    error = ImageError(f"Frame {index} of {self.name} cannot be decoded.")
                    yield Frame(source=self.name, index=index, timestamp=timestamp, error=error)
                index += 1
            # containers estimate the number of frames
            if not self._closed.is_set() and declared - index > max(1, declared // 50):
                error = ImageError(
                    f"{self.name} ended after {index} of {declared} frames: the rest cannot be decoded.",
                    hint="Copy or download it again.",
                )
                yield Frame(source=self.name, index=index, error=error)
        finally:
            capture.release()

    def close(self) -> None:
        self._closed.set()


class LiveSource:
    """A camera or a network stream. A lost connection is opened again, up to ``tries`` times in a row, with growing pauses.

    ``target`` is an index or a URL. ``warn`` is called when a connection is lost.
    """

    live = True
    still = False

    def __init__(
        self,
        target: str | int,
        channels: int | None = 3,
        *,
        tries: int = TRIES,
        first_pause: float = FIRST_PAUSE,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.name = f"camera:{target}" if isinstance(target, int) else without_password(target)
        self.fps: float | None = None
        self._target = target
        self._channels = channels
        self._tries = tries
        self._first_pause = first_pause
        self._warn = warn
        self._closed = threading.Event()

    def frames(self) -> Iterator[Frame]:
        started, index, failed = time.monotonic(), 0, 0
        while not self._closed.is_set():
            capture = open_capture(self._target)
            try:
                if not capture.isOpened() and not index:
                    raise ImageError(f"{self.name} cannot be opened.", hint=self._hint())
                self.fps = _frame_rate(capture) if capture.isOpened() else self.fps
                while not self._closed.is_set() and capture.grab():
                    done, bgr = capture.retrieve()
                    now = round(time.monotonic() - started, 6)
                    if done:
                        failed = 0
                        yield Frame(
                            source=self.name, index=index, timestamp=now, pixels=_to_channels(bgr, self._channels)
                        )
                    else:
                        error = ImageError(f"Frame {index} of {self.name} cannot be decoded.")
                        yield Frame(source=self.name, index=index, timestamp=now, error=error)
                    index += 1
            finally:
                capture.release()
            if self._closed.is_set():
                return
            failed += 1
            if failed > self._tries:
                raise ImageError(f"{self.name} was lost after {index} frames.", hint=self._hint())
            pause = min(self._first_pause * 2 ** (failed - 1), LONGEST_PAUSE)
            self._warn(f"{self.name}: no frame; opening it again in {pause:g} s ({failed} of {self._tries})")
            self._closed.wait(pause)

    def _hint(self) -> str:
        if isinstance(self._target, int):
            return "Check that the camera is connected, not in use, and that you may read it; try another index."
        return "Check the address, the user name and password, and that the stream plays elsewhere."

    def close(self) -> None:
        self._closed.set()
