"""Images that are not on this machine: in S3 buckets and at web addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptrt.sources.download import download
from adaptrt.specs.image_files import RemoteFile

if TYPE_CHECKING:
    from adaptrt.vision.images import ImageArray


def find_remote(url: str) -> list[RemoteFile]:
    """The image at an address; of an ``s3://`` prefix or pattern, all images, sorted. Never an empty list."""
    if not url.lower().startswith("s3://"):
        return [RemoteFile(url)]
    from adaptrt.sources.s3 import find_objects

    return [RemoteFile(found) for found in find_objects(url)]


def read_remote(file: RemoteFile, channels: int | None = 3) -> ImageArray:
    """The image as uint8 [H, W, ``channels``], as by ``read_image`` from the same content in a file."""
    from adaptrt.vision.images import decode_image

    return decode_image(_content(file), channels, str(file))


def _content(file: RemoteFile) -> bytes:
    if file.url.lower().startswith("s3://"):
        from adaptrt.sources.s3 import read_object

        return read_object(file.url)
    path = download(file.url)
    try:
        return path.read_bytes()
    finally:
        path.unlink(missing_ok=True)
