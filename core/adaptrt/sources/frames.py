"""What sources produce: frames, and the protocol of a source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from adaptrt.errors import ImageError
    from adaptrt.vision.images import ImageArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """An image of a source.

    ``pixels``: uint8 [H, W, C], RGB if C is 3; ``None`` if the image or frame could not be read, with an ``error``.
    ``source``: as in ``Source.name``. ``index`` counts the frames of the source from 0, dropped and corrupt ones included.
    ``timestamp``: seconds; the position in a video file, the time since opening of a live source, ``None`` for a still image.
    ``dropped``: frames of a live source that have been replaced by newer ones so far.
    """

    source: str
    index: int = 0
    timestamp: float | None = None
    pixels: ImageArray | None = None
    dropped: int = 0
    error: ImageError | None = None


class Source(Protocol):
    """A sequence of frames, read by one thread.

    ``name``: the path, URL, or ``camera:0``. ``live``: frames arrive in real time and cannot be read again: the newest one
    wins. ``still``: each frame is a separate image. ``fps``: frames per second, ``None`` if unknown or a still image.
    """

    name: str
    live: bool
    still: bool

    @property
    def fps(self) -> float | None: ...

    def frames(self) -> Iterator[Frame]:
        """Frames in order, until the end of the source. A frame that cannot be read has an ``error``; a source that
        cannot be opened, or is lost, raises an ``ImageError``."""
        ...

    def close(self) -> None:
        """Release the device or file; ``frames`` ends. May be called from another thread and more than once."""
        ...
