"""Images and videos at a URL that the user names: downloaded to a temporary file, within limits of size and time."""

from __future__ import annotations

import io
import os
import tempfile
import time
import urllib.error
import urllib.request
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from adaptrt.errors import ImageError
from adaptrt.socket_deadline import DeadlineReader
from adaptrt.specs.image_files import without_password

MAX_BYTES = 1 << 30
MAX_SECONDS = 120.0
_CHUNK = 1 << 18
_PATIENCE = 30.0  # seconds for a connection
_DIGITS = 20
_YOURSELF = "Download it yourself and pass the file."
_UNREVEALING = ("", "application/octet-stream", "binary/octet-stream")


class _WebOnly(urllib.request.HTTPRedirectHandler):
    """urllib would also follow a redirect to FTP."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme not in ("http", "https"):
            raise ImageError(f"{without_password(req.full_url)} redirects to {without_password(newurl)}, which is not an http or https URL.")  # fmt: skip
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(deadline: float) -> urllib.request.OpenerDirector:
    """Reads headers, redirects and bodies until the deadline."""

    class Response(HTTPResponse):
        def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
            super().__init__(sock, *args, **kwargs)
            self._whole = self.fp  # keeps the connection open until it is closed
            self.fp = io.BufferedReader(DeadlineReader(sock, deadline))

        def close(self) -> None:
            super().close()
            self._whole.close()

    def start(connection: HTTPConnection) -> None:
        connection.timeout = min(_PATIENCE, max(deadline - time.monotonic(), 1e-3))
        connection.response_class = Response

    class Plain(HTTPConnection):
        def connect(self) -> None:
            start(self)
            super().connect()

    class Encrypted(HTTPSConnection):
        def connect(self) -> None:
            start(self)
            super().connect()

    class OpensPlain(urllib.request.HTTPHandler):
        def http_open(self, req: urllib.request.Request) -> HTTPResponse:
            return self.do_open(Plain, req)

    class OpensEncrypted(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> HTTPResponse:
            return self.do_open(Encrypted, req)

    return urllib.request.build_opener(_WebOnly, OpensPlain, OpensEncrypted)


def download(url: str, *, max_bytes: int = MAX_BYTES, max_seconds: float = MAX_SECONDS) -> Path:
    """The file at an ``http`` or ``https`` URL, an image or video, in a temporary file that the caller removes."""
    shown = without_password(url)
    deadline = time.monotonic() + max_seconds
    request = urllib.request.Request(url, headers={"User-Agent": "adaptrt", "Accept": "image/*, video/*"})
    path: Path | None = None
    try:
        with _opener(deadline).open(request) as answer:
            kind = answer.headers.get_content_type() if "Content-Type" in answer.headers else ""
            if kind.split("/")[0] not in ("image", "video") and kind not in _UNREVEALING:
                raise ImageError(f"{shown} is not an image or video, but {kind}.", hint="Use the URL of the file itself.")  # fmt: skip
            expected = answer.headers.get("Content-Length", "")
            announced = (
                int(expected) if expected.isascii() and expected.isdecimal() and len(expected) < _DIGITS else None
            )
            if announced is not None and announced > max_bytes:
                raise _too_large(shown, max_bytes)
            number, name = tempfile.mkstemp(prefix="adaptrt-", suffix=_suffix(url))
            path = Path(name)
            size = 0
            with os.fdopen(number, "wb") as file:
                while chunk := answer.read(_CHUNK):
                    size += len(chunk)
                    if size > max_bytes:
                        raise _too_large(shown, max_bytes)
                    file.write(chunk)
            if announced is not None and size != announced:
                raise ImageError(f"{shown} ended after {size} of {expected} bytes.", hint="Try again.")
        return path
    except BaseException as error:
        if path is not None:
            path.unlink(missing_ok=True)
        if isinstance(error, urllib.error.HTTPError):
            raise ImageError(f"{shown}: HTTP {error.code} {error.reason}.", hint="Check the URL.") from error
        if isinstance(error, (OSError, HTTPException, ValueError)):
            if time.monotonic() >= deadline:
                raise ImageError(f"{shown} took longer than {max_seconds:g} s.", hint=_YOURSELF) from error
            reason = getattr(error, "reason", None) or error
            raise ImageError(f"{shown} cannot be downloaded: {reason}.", hint="Check the URL and the network.") from error  # fmt: skip
        raise


def _too_large(shown: str, max_bytes: int) -> ImageError:
    return ImageError(f"{shown} is larger than {max_bytes >> 20} MiB.", hint=_YOURSELF)


def file_name(url: str) -> str:
    """The last part of the URL's path, for files named after it."""
    return Path(unquote(urlsplit(url).path)).name or urlsplit(url).hostname or "download"


def _suffix(url: str) -> str:
    suffix = Path(file_name(url)).suffix.lower()
    return suffix if suffix[1:].isalnum() else ""
