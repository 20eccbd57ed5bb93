"""Images and videos at a URL that the user names: downloaded to a temporary file, within limits of size and time."""

from __future__ import annotations

import os
import tempfile
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from adaptrt.errors import ImageError
from adaptrt.specs.image_files import without_password

MAX_BYTES = 1 << 30
MAX_SECONDS = 120.0
_CHUNK = 1 << 18
_UNREVEALING = ("", "application/octet-stream", "binary/octet-stream")


class _WebOnly(urllib.request.HTTPRedirectHandler):
    """urllib would also follow a redirect to FTP."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme not in ("http", "https"):
            raise ImageError(f"{without_password(req.full_url)} redirects to {without_password(newurl)}, which is not an http or https URL.")  # fmt: skip
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(url: str, *, max_bytes: int = MAX_BYTES, max_seconds: float = MAX_SECONDS) -> Path:
    """The file at an ``http`` or ``https`` URL, an image or video, in a temporary file that the caller removes."""
    shown = without_password(url)
    deadline = time.monotonic() + max_seconds
    opener = urllib.request.build_opener(_WebOnly)
    request = urllib.request.Request(url, headers={"User-Agent": "adaptrt", "Accept": "image/*, video/*"})
    path: Path | None = None
    try:
        with opener.open(request, timeout=min(max_seconds, 30)) as answer:
            kind = answer.headers.get_content_type() if "Content-Type" in answer.headers else ""
            if kind.split("/")[0] not in ("image", "video") and kind not in _UNREVEALING:
                raise ImageError(f"{shown} is not an image or video, but {kind}.", hint="Use the URL of the file itself.")  # fmt: skip
            number, name = tempfile.mkstemp(prefix="adaptrt-", suffix=_suffix(url))
            path = Path(name)
            size = 0
            with os.fdopen(number, "wb") as file:
                while chunk := answer.read(_CHUNK):
                    size += len(chunk)
                    if size > max_bytes:
                        raise ImageError(f"{shown} is larger than {max_bytes >> 20} MiB.", hint="Download it yourself and pass the file.")  # fmt: skip
                    if time.monotonic() > deadline:
                        raise ImageError(f"{shown} took longer than {max_seconds:g} s.", hint="Download it yourself and pass the file.")  # fmt: skip
                    file.write(chunk)
            expected = answer.headers.get("Content-Length", "")
            if expected.isdigit() and size != int(expected):
                raise ImageError(f"{shown} ended after {size} of {expected} bytes.", hint="Try again.")
        return path
    except BaseException as error:
        if path is not None:
            path.unlink(missing_ok=True)
        if isinstance(error, urllib.error.HTTPError):
            raise ImageError(f"{shown}: HTTP {error.code} {error.reason}.", hint="Check the URL.") from error
        if isinstance(error, (OSError, HTTPException, ValueError)):
            reason = getattr(error, "reason", None) or error
            raise ImageError(f"{shown} cannot be downloaded: {reason}.", hint="Check the URL and the network.") from error  # fmt: skip
        raise


def file_name(url: str) -> str:
    """The last part of the URL's path, for files named after it."""
    return Path(unquote(urlsplit(url).path)).name or urlsplit(url).hostname or "download"


def _suffix(url: str) -> str:
    suffix = Path(file_name(url)).suffix.lower()
    return suffix if suffix[1:].isalnum() else ""
