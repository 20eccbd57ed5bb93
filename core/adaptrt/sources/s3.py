"""Objects in S3 buckets, through pyarrow.

Credentials, region and endpoint come from where the AWS tools have them: ``AWS_PROFILE``, ``AWS_ACCESS_KEY_ID``, ``AWS_REGION``,
``AWS_ENDPOINT_URL`` and the other environment variables, and ``~/.aws``. ``s3://anonymous@bucket/`` uses no credentials.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, NamedTuple

from adaptrt.errors import DependencyError, ImageError, UsageError
from adaptrt.sources.download import MAX_BYTES

_HINT = "Check the address, the credentials, and the region and endpoint (AWS_REGION, AWS_ENDPOINT_URL)."


class _Address(NamedTuple):
    user: str
    bucket: str
    key: str

    @property
    def path(self) -> str:
        """As pyarrow has it."""
        return f"{self.bucket}/{self.key}".rstrip("/")

    def url(self, path: str) -> str:
        return f"s3://{self.user}@{path}" if self.user else f"s3://{path}"


def find_objects(url: str) -> list[str]:
    """Addresses of the images that an object, a prefix (``s3://bucket/folder/``) or a pattern names, sorted; never an empty list."""
    address = _parsed(url)
    files = _filesystem(address.user)
    fs = _pyarrow()
    try:
        kind = files.get_file_info(address.path).type
        if kind == fs.FileType.File:
            return [url]
        if glob.has_magic(address.key):
            names = _matching(files, address)
        elif kind == fs.FileType.NotFound:
            raise ImageError(f"Not found: {url}.", hint=_HINT)
        else:
            names = _listed(files, address.path, recursive=False)
    except OSError as error:
        raise ImageError(f"{url} cannot be listed: {error}.", hint=_HINT) from error
    from adaptrt.vision.images import SUFFIXES

    found = sorted(name for name in names if os.path.splitext(name)[1].lower() in SUFFIXES)  # noqa: PTH122
    if not found:
        raise ImageError(f"{url} contains no images.", hint=f"Supported suffixes: {', '.join(sorted(SUFFIXES))}.")
    return [address.url(name) for name in found]


def read_object(url: str) -> bytes:
    address = _parsed(url)
    try:
        with _filesystem(address.user).open_input_file(address.path) as file:
            if file.size() > MAX_BYTES:
                raise ImageError(f"{url} is larger than {MAX_BYTES >> 20} MiB.")
            data: bytes = file.read()
            return data
    except FileNotFoundError as error:
        raise ImageError(f"Not found: {url}.", hint=_HINT) from error
    except OSError as error:
        raise ImageError(f"{url} cannot be read: {error}.", hint=_HINT) from error


def _parsed(url: str) -> _Address:
    """Keys are as they are, without the escapes of web addresses."""
    authority, _, key = url.partition("://")[2].partition("/")
    user, _, bucket = authority.rpartition("@")
    if user not in ("", "anonymous"):
        raise UsageError(
            "Credentials are not accepted in an s3:// URL.",
            hint="Use AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
        )
    if not bucket:
        raise UsageError(f"{url} contains no bucket name.", hint="For example: s3://bucket/folder/*.jpg")
    return _Address(user, bucket, key)


def _matching(files: Any, address: _Address) -> list[str]:
    pattern = address.key.split("/")
    first = next(index for index, part in enumerate(pattern) if glob.has_magic(part))
    base = "/".join([address.bucket, *pattern[:first]])
    rest = pattern[first:]
    names = _listed(files, base, recursive=len(rest) > 1 or rest == ["**"])
    return [name for name in names if _matches(name[len(base) + 1 :].split("/"), rest)]


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[start:], pattern[1:]) for start in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _listed(files: Any, base: str, *, recursive: bool) -> list[str]:
    fs = _pyarrow()
    selector = fs.FileSelector(base, recursive=recursive)
    return [found.path for found in files.get_file_info(selector) if found.type == fs.FileType.File]


@cache
def _filesystem(user: str) -> Any:
    """One for all objects of a process: it keeps its connections."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    scheme, _, host = endpoint.rpartition("://")
    options = {"endpoint_override": host.rstrip("/"), "scheme": scheme or "https"} if host else {}
    return _pyarrow().S3FileSystem(anonymous=user == "anonymous", **options)


def _pyarrow() -> Any:
    try:
        from pyarrow import fs
    except ImportError as error:
        raise DependencyError(
            f"s3:// requires pyarrow, which cannot be imported: {error}.", hint="pip install 'adaptrt[s3]'"
        ) from error
    return fs
