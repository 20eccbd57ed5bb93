"""An image or video at a URL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from adaptrt.errors import ImageError
from adaptrt.sources.capture import VideoSource, require_video
from adaptrt.sources.download import download
from adaptrt.sources.frames import Frame
from adaptrt.sources.images import ImageSource
from adaptrt.specs.image_files import without_password

if TYPE_CHECKING:
    from adaptrt.sources.find import SourceOptions


class UrlSource:
    """The frames of a file that is downloaded when they are read, and removed afterwards."""

    live = False
    still = False

    def __init__(self, url: str, options: SourceOptions) -> None:
        self.name = without_password(url)
        self._url = url
        self._options = options
        self._inner: ImageSource | VideoSource | None = None
        self._closed = False

    @property
    def fps(self) -> float | None:
        return None if self._inner is None else self._inner.fps

    def frames(self) -> Iterator[Frame]:
        path = download(self._url, max_bytes=self._options.url_bytes, max_seconds=self._options.url_seconds)
        try:
            try:
                require_video(path)
            except ImageError:
                self.still = True
                self._inner = ImageSource([path], self._options.channels, {path: self.name})
            else:
                self._inner = VideoSource(path, self._options.channels, self.name)
            if not self._closed:
                yield from self._inner.frames()
        finally:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        self._closed = True
        if self._inner is not None:
            self._inner.close()
