"""What executors run on: paths of image files, and addresses of remote ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

REMOTE_SCHEMES = ("http", "https", "s3")


@dataclass(frozen=True)
class RemoteFile:
    """An image at an ``s3://``, ``http://`` or ``https://`` address, read where the model runs.

    As text, in rows and messages, the address has no password.
    """

    url: str

    def __str__(self) -> str:
        return without_password(self.url)

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


ImageFile: TypeAlias = Path | RemoteFile


def is_remote(text: str) -> bool:
    """Whether a name is an address that ``RemoteFile`` can have."""
    scheme, separator, _ = text.partition("://")
    return bool(separator) and scheme.lower() in REMOTE_SCHEMES


def image_file(text: str) -> ImageFile:
    """From a path or address as text; the opposite of ``exact_name``."""
    return RemoteFile(text) if is_remote(text) else Path(text)


def exact_name(file: ImageFile) -> str:
    """The absolute path or the full address, under which another process finds the file."""
    return file.url if isinstance(file, RemoteFile) else str(file.absolute())


def without_password(url: str) -> str:
    """The URL as it may be shown and stored."""
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    user, at, host = authority.rpartition("@")
    return f"{scheme}://{user.partition(':')[0] + ':***' if ':' in user else user}{at}{host}{slash}{path}"
