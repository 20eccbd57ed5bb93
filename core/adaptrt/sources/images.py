"""Still images, one file after another, and what is named but cannot be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from adaptrt.errors import ImageError
from adaptrt.sources.frames import Frame
from adaptrt.specs.image_files import ImageFile, RemoteFile

if TYPE_CHECKING:
    from adaptrt.vision.images import ImageArray


class ImageSource:
    """Files of still images; each frame is named after its file. ``names`` are other names for files, such as their URL."""

    live = False
    still = True
    fps = None

    def __init__(
        self, paths: Sequence[ImageFile], channels: int | None = 3, names: Mapping[Path, str] | None = None
    ) -> None:
        self.paths = tuple(paths)
        self.name = str(paths[0]) if len(paths) == 1 else f"{len(paths)} images"
        self._channels = channels
        self._names = dict(names or {})
        self._closed = False

    def frames(self) -> Iterator[Frame]:
        for path in self.paths:
            if self._closed:
                return
            other = self._names.get(path) if isinstance(path, Path) else None
            name = other or str(path)
            try:
                pixels = _read(path, self._channels, other)
            except ImageError as error:
                yield Frame(source=name, error=error)
                continue
            yield Frame(source=name, pixels=pixels)

    def close(self) -> None:
        self._closed = True


def _read(file: ImageFile, channels: int | None, name: str | None) -> ImageArray:
    """``name``: what errors call a file, if not by its path."""
    if isinstance(file, RemoteFile):
        from adaptrt.sources.remote import read_remote

        return read_remote(file, channels)
    from adaptrt.vision.images import decode_image, read_image

    return read_image(file, channels) if name is None else decode_image(file.read_bytes(), channels, name)


class Unreadable:
    """What is missing or has no images: it fails when it is read, so that the sources beside it do not."""

    live = False
    still = True
    fps = None

    def __init__(self, name: str, error: ImageError) -> None:
        self.name = name
        self._error = error

    def frames(self) -> Iterator[Frame]:
        raise self._error

    def close(self) -> None: ...
