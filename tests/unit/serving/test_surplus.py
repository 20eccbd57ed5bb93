"""Clients see the answer to a request that is rejected, also if they have not sent its body yet."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from patience import HANG, wait_until

from adaptrt.serving.server import PredictionServer, ServerOptions
from adaptrt.specs import ImageTransform, InputSpec, ModelSpec

SPEC = ModelSpec(inputs=(InputSpec.image(8, 8),), task="classify", image=ImageTransform())
LARGE = bytes(8_000_000)


@pytest.fixture
def serve() -> Iterator[Callable[..., PredictionServer]]:
    """Servers of a model that is never called."""
    started: list[PredictionServer] = []

    def start(**options: Any) -> PredictionServer:
        model: Any = SimpleNamespace(spec=SPEC, path=Path("a.onnx"), channels=3, largest_batch=1)
        server = PredictionServer(model, ServerOptions(port=0, **options))
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.stop()


def status(server: PredictionServer, method: str, path: str, body: bytes | None = None) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=HANG)
    connection.request(method, path, body)
    return connection.getresponse().status


def test_too_many_connections(serve: Callable[..., PredictionServer]) -> None:
    server = serve(max_connections=1)
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=HANG):
        wait_until(lambda: server._connections._value == 0, "the connection is counted")
        assert [status(server, "POST", "/predict", LARGE) for _ in range(3)] == [503] * 3


def test_as_many_clients_as_connections_are_never_too_many(serve: Callable[..., PredictionServer]) -> None:
    server = serve(max_connections=2)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: status(server, "GET", "/health"), range(200)))
    assert set(found) == {200}


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [("POST", "/predct", 404), ("POST", "/health", 405), ("PUT", "/predict", 501), ("POST", "/predict?a=1&a=2", 400)],
)
def test_a_body_that_is_not_read(serve: Callable[..., PredictionServer], method: str, path: str, expected: int) -> None:
    assert status(serve(), method, path, LARGE) == expected


def test_json_instead_of_an_image(serve: Callable[..., PredictionServer]) -> None:
    pytest.importorskip("cv2", reason="images need OpenCV")
    connection = http.client.HTTPConnection("127.0.0.1", serve().server_port, timeout=HANG)
    connection.request("POST", "/predict", b'{"image": "aGVsbG8="}', {"Content-Type": "application/json"})
    assert b"The body must be the image file itself, not JSON" in connection.getresponse().read()
