"""The HTTP server: one image in the body of a request, its prediction as JSON."""

from __future__ import annotations

import io
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from adaptrt.errors import AdaptrtError, ImageError, OutputError, UsageError
from adaptrt.json_text import json_text
from adaptrt.pipeline.processing import spec_with_params
from adaptrt.quantities import file_size
from adaptrt.serving.batching import Batcher, StoppingError
from adaptrt.serving.metrics import CONTENT_TYPE, Metrics
from adaptrt.serving.request_words import in_request, request_hint
from adaptrt.serving.surplus import DRAINED, Surplus, linger
from adaptrt.socket_deadline import DeadlineReader
from adaptrt.specs import task_named
from adaptrt.version import __version__

if TYPE_CHECKING:
    from adaptrt.pipeline.load import Model

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
GRACE = 8.0  # seconds that requests in progress have when the server stops; `docker stop` kills a container after 10
_WITH_CURL = "With curl: --data-binary @image.jpg"
_CHUNK = 1 << 16
_DIGITS = 20  # of a size; Python refuses to read thousands


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """``max_body``: bytes. ``max_delay`` and ``timeout`` (of receiving a request): seconds. ``log`` receives a line for each request."""

    host: str = "127.0.0.1"
    port: int = 8000
    max_body: int = 20_000_000
    max_pixels: int = 50_000_000
    max_batch: int = 1
    max_delay: float = 0.005
    max_connections: int = 64
    timeout: float = 30.0
    log: Callable[[str], None] = lambda _: None


class PredictionServer(ThreadingHTTPServer):
    """A thread for each connection, and one that runs the model. Each connection carries one request.

    It listens from its creation on. ``start`` answers requests; ``stop`` ends after the requests in progress.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, model: Model, options: ServerOptions) -> None:
        if model.spec.image is None:
            raise UsageError(
                f"{model.path.name} has no image input.", hint="Only models with an image input are served."
            )
        self.model, self.options = model, options
        self.metrics = Metrics({"version": __version__, "model": model.path.name, "task": model.spec.task})
        self.stopping = False
        self._connections = threading.BoundedSemaphore(options.max_connections)
        self._surplus = Surplus(self._connections, options.log)
        self.decoding = threading.BoundedSemaphore(2 * options.max_batch)  # decoded images in memory
        self._active = 0
        self._idle = threading.Condition()
        self.address_family = _family(options.host, options.port)
        try:
            super().__init__((options.host, options.port), _Handler)
        except OSError as error:
            raise OutputError(
                f"Cannot listen on {options.host}:{options.port}: {error.strerror or error}.",
                hint="Choose another one with --port; 0 takes any free port.",
            ) from error
        try:
            self.batcher = Batcher(model, size=options.max_batch, delay=options.max_delay, ran=self.metrics.ran)
        except UsageError:
            self.server_close()
            raise
        self._thread = threading.Thread(target=self.serve_forever, args=(0.1,), name="adaptrt-http", daemon=True)

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        return f"http://[{host!s}]:{port}" if ":" in str(host) else f"http://{host!s}:{port}"

    @property
    def local_only(self) -> bool:
        """Whether only programs on this machine can connect."""
        return self.options.host in LOOPBACK

    def server_bind(self) -> None:
        """Without the reverse lookup of the host's name, which can take long."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Accept no more requests, answer those in progress, for at most ``GRACE`` seconds, and end."""
        self.stopping = True
        self.shutdown()
        self._thread.join()
        self.server_close()
        with self._idle:
            self._idle.wait_for(lambda: not self._active, GRACE)
        self.batcher.close()
        with self._idle:  # those that waited for the model write their answers
            self._idle.wait_for(lambda: not self._active, 1.0)

    @contextmanager
    def request_in_progress(self) -> Iterator[None]:
        with self._idle:
            self._active += 1
        try:
            yield
        finally:
            with self._idle:
                self._active -= 1
                self._idle.notify_all()

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._connections.acquire(blocking=False):
            try:
                super().process_request(request, client_address)
            except RuntimeError:  # no more threads
                self._connections.release()
                raise
            return

        def close() -> None:
            self.metrics.answered(HTTPStatus.SERVICE_UNAVAILABLE)
            self.shutdown_request(request)

        self._surplus.handle(request, lambda: self.process_request_thread(request, client_address), close)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """An exception outside a request, such as a connection that its client closed."""
        self.options.log(f"{client_address[0]}: {sys.exc_info()[1]!r}")


def _family(host: str, port: int) -> socket.AddressFamily:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    except (OSError, UnicodeError) as error:
        raise UsageError(
            f"--host {host}: {error}.", hint="Specify an address of this machine, or 0.0.0.0 for all."
        ) from error


class _RejectedError(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: HTTPStatus, message: str, hint: str = "") -> None:
        self.status, self.message, self.hint = status, message, hint


def _rejected(status: HTTPStatus, error: AdaptrtError) -> _RejectedError:
    return _RejectedError(status, in_request(error.message), request_hint(error.hint))


class _Handler(BaseHTTPRequestHandler):
    server: PredictionServer
    protocol_version = "HTTP/1.1"
    server_version = f"adaptrt/{__version__}"
    sys_version = ""

    def setup(self) -> None:
        super().setup()
        timeout = self.server.options.timeout
        self.connection.settimeout(timeout)
        self.rfile = io.BufferedReader(DeadlineReader(self.connection, time.monotonic() + timeout))

    def do_GET(self) -> None:
        self._respond()

    def do_HEAD(self) -> None:
        """As GET, without the body: load balancers ask for ``/health`` so."""
        self._respond()

    def do_POST(self) -> None:
        self._respond()

    def _respond(self) -> None:
        self.close_connection = True
        with self.server.request_in_progress():
            started = time.monotonic()
            path, _, query = self.path.partition("?")
            try:
                status, content, kind = self._answer(path, query)
            except _RejectedError as error:
                shown = {"message": error.message, **({"hint": error.hint} if error.hint else {})}
                status, content, kind = error.status, _json({"error": shown}), "application/json"
            counted = time.monotonic() - started if path == "/predict" else None
            self.server.metrics.answered(status, counted)
            self._send(status, content, kind)

    def _answer(self, path: str, query: str) -> tuple[HTTPStatus, bytes, str]:
        self._require_host()
        routes: dict[str, tuple[str, Callable[[str], tuple[HTTPStatus, bytes, str]]]] = {
            "/predict": ("POST", self._predict),
            "/health": ("GET", self._health),
            "/metrics": ("GET", self._metrics),
            "/": ("GET", self._describe),
        }
        if path not in routes:
            raise _RejectedError(HTTPStatus.NOT_FOUND, "Not found.", f"Available: {', '.join(routes)}")
        method, answer = routes[path]
        if ("GET" if self.command == "HEAD" else self.command) != method:
            hint = _WITH_CURL if path == "/predict" else ""
            raise _RejectedError(HTTPStatus.METHOD_NOT_ALLOWED, f"{path} requires {method}.", hint)
        return answer(query)

    def _require_host(self) -> None:
        """A web page can make a browser send requests to this machine under a name of the page's choice; they are not answered."""
        try:
            name = urlsplit(f"//{self.headers.get('Host', '')}").hostname
        except ValueError as error:
            raise _RejectedError(HTTPStatus.BAD_REQUEST, "The header Host is not valid.") from error
        if self.server.local_only and name not in (None, *LOOPBACK):
            raise _RejectedError(
                HTTPStatus.FORBIDDEN,
                "The header Host does not name this machine.",
                "Use 127.0.0.1.",
            )

    def _health(self, _: str) -> tuple[HTTPStatus, bytes, str]:
        if self.server.stopping:
            return HTTPStatus.SERVICE_UNAVAILABLE, _json({"status": "stopping"}), "application/json"
        return HTTPStatus.OK, _json({"status": "ready"}), "application/json"

    def _metrics(self, _: str) -> tuple[HTTPStatus, bytes, str]:
        return HTTPStatus.OK, self.server.metrics.text(waiting=self.server.batcher.waiting).encode(), CONTENT_TYPE

    def _describe(self, _: str) -> tuple[HTTPStatus, bytes, str]:
        spec, options = self.server.model.spec, self.server.options
        described = {
            "model": self.server.model.path.name,
            "task": spec.task,
            "image_size": list(spec.image_size),
            "labels": list(spec.labels),
            "params": dict(spec.decoder.params) if spec.decoder else {},
            "limits": {"bytes": options.max_body, "pixels": options.max_pixels},
            "endpoints": ["POST /predict", "GET /health", "GET /metrics"],
        }
        return HTTPStatus.OK, _json(described), "application/json"

    def _predict(self, query: str) -> tuple[HTTPStatus, bytes, str]:
        from adaptrt.vision.images import decode_image

        server = self.server
        body = self._body()
        try:
            params = _params(query)
            spec_with_params(server.model.spec, params)
            with server.decoding:
                image = decode_image(body, server.model.channels)
                if image.shape[0] * image.shape[1] > server.options.max_pixels:
                    raise ImageError(
                        "The image has too many pixels.", hint=f"The maximum is {server.options.max_pixels:,}."
                    )
                found = server.batcher.submit(image, params).result()
        except StoppingError as error:
            raise _rejected(HTTPStatus.SERVICE_UNAVAILABLE, error) from error
        except (ImageError, UsageError) as error:
            if isinstance(error, ImageError) and self.headers.get_content_subtype() == "json":
                raise _RejectedError(
                    HTTPStatus.BAD_REQUEST, "The body must be the image file itself, not JSON.", _WITH_CURL
                ) from error
            raise _rejected(HTTPStatus.BAD_REQUEST, error) from error
        except Exception as error:
            server.options.log(f"error: {error}")
            message = (
                in_request(error.message)
                if isinstance(error, AdaptrtError)
                else "Internal error; see the output of the server."
            )
            raise _RejectedError(HTTPStatus.INTERNAL_SERVER_ERROR, message) from error
        data = task_named(server.model.spec.task).data(found)
        return HTTPStatus.OK, _json({"height": image.shape[0], "width": image.shape[1], **data}), "application/json"

    def _body(self) -> bytes:
        if self.headers.get_content_maintype() == "multipart":
            raise _RejectedError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "The body must be the image file itself, not a form.",
                _WITH_CURL,
            )
        size = declared_size(self.headers.get("Content-Length", ""))
        if size is None or "Transfer-Encoding" in self.headers:
            raise _RejectedError(
                HTTPStatus.LENGTH_REQUIRED,
                "The request has no Content-Length.",
                f"Send the image as a whole, not in chunks. {_WITH_CURL}",
            )
        limit = self.server.options.max_body
        if size > limit:
            with suppress(_RejectedError):  # it did not arrive in time
                self._read(min(size, DRAINED), keep=False)
            raise _RejectedError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"The body is larger than {file_size(limit)}.",
                "Send a smaller image.",
            )
        return self._read(size)

    def _read(self, size: int, *, keep: bool = True) -> bytes:
        parts: list[bytes] = []
        try:
            while size:
                part = self.rfile.read1(min(size, _CHUNK))
                if not part:
                    raise _RejectedError(HTTPStatus.BAD_REQUEST, "The body is shorter than its Content-Length.")
                size -= len(part)
                if keep:
                    parts.append(part)
        except TimeoutError as error:
            raise _RejectedError(HTTPStatus.REQUEST_TIMEOUT, "The body did not arrive in time.") from error
        return b"".join(parts)

    def handle_expect_100(self) -> bool:
        """A client that asks first does not have to send a body that is too large."""
        if (declared_size(self.headers.get("Content-Length", "")) or 0) > self.server.options.max_body:
            return True
        return super().handle_expect_100()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """What the base class rejects: a malformed request, an unknown method."""
        self.close_connection = True
        self.server.metrics.answered(code)
        self._send(
            HTTPStatus(code), _json({"error": {"message": message or HTTPStatus(code).phrase}}), "application/json"
        )

    def _send(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        if status >= HTTPStatus.BAD_REQUEST:
            linger(self.connection)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:  # noqa: ARG002
        status = code.value if isinstance(code, HTTPStatus) else code
        self.server.options.log(f'{self.client_address[0]} "{self.requestline}" {status}')

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        self.server.options.log(f"{self.client_address[0]} {format % args}")


def declared_size(text: str) -> int | None:
    """The number in a header Content-Length; ``None`` for anything else."""
    return int(text.lstrip("0")[:_DIGITS] or "0") if text.isascii() and text.isdecimal() else None


def _json(content: Any) -> bytes:
    return (json_text(content) + "\n").encode()


def _params(query: str) -> dict[str, str]:
    """Parameters of the decoder, as ``--set`` takes them."""
    pairs = parse_qsl(query, keep_blank_values=True)
    params = dict(pairs)
    if len(params) < len(pairs):
        raise UsageError("A parameter occurs twice in the URL.")
    return params
