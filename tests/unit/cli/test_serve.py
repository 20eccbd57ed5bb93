"""``adaptrt serve``: a real server process; answers equal those of predict, and limits hold."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import pytest
from patience import HANG, wait_until

Converted = Callable[[str], Path]


class Answer(NamedTuple):
    status: int
    content: Any
    headers: dict[str, str]


class Server(NamedTuple):
    process: subprocess.Popen[str]
    host: str
    port: int

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=HANG)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            data = response.read().decode()
        finally:
            connection.close()
        kind = response.headers["Content-Type"]
        content = json.loads(data) if data and kind == "application/json" else data
        return Answer(response.status, content, dict(response.headers))

    def predict(self, image: Path, query: str = "") -> Answer:
        return self.ask("POST", f"/predict{query}", image.read_bytes())

    def metric(self, name: str) -> float:
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.ask("GET", "/metrics").content, re.MULTILINE)
        return float(found[1]) if found else 0.0


@pytest.fixture
def serve(converted: Converted) -> Iterator[Callable[..., Server]]:
    """``serve("detector", "--max-batch", "4")``: a process of its own that is ready."""
    started: list[subprocess.Popen[str]] = []

    def start(net: str, *words: object) -> Server:
        limits = ("--timeout", HANG)  # of a request, however busy the machine is
        command = [sys.executable, "-m", "adaptrt", "serve", converted(net), "--port", 0, "--json", *limits, *words]
        process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        text = ""
        for line in lines:
            text += line
            if line.startswith("}"):
                url = urlsplit(json.loads(text)["url"])
                return Server(process, str(url.hostname), int(url.port or 0))
        assert process.stderr is not None
        raise AssertionError(process.stderr.read())

    yield start
    for process in started:
        process.kill()
        process.communicate()


def predicted(call: Any, model: str, *words: object) -> list[dict[str, Any]]:
    """What ``adaptrt predict --json`` finds, without paths and times."""
    rows = call("predict", model, *words, "--json").json["images"]
    return [{key: row[key] for key in row if key not in ("path", "milliseconds", "output")} for row in rows]


def test_a_server_answers_like_predict_and_keeps_its_limits(
    adaptrt: Any, converted: Converted, image: Path, tmp_path: Path, serve: Callable[..., Server]
) -> None:
    """One process for everything, since each start loads the model again."""
    server = serve("detector", "--max-body", "0.1", "--max-pixels", "0.02")
    assert server.host == "127.0.0.1"
    assert server.ask("GET", "/health")[:2] == (200, {"status": "ready"})

    model = str(tmp_path / "detector.onnx")
    whole, strict = predicted(adaptrt, model, image), predicted(adaptrt, model, image, "--conf", "0.9")
    assert whole != strict
    assert server.predict(image)[:2] == (200, whole[0])
    assert server.predict(image, "?conf=0.9")[:2] == (200, strict[0])

    described = server.ask("GET", "/").content
    assert (described["model"], described["task"], described["limits"]) == (
        "detector.onnx", "detect", {"bytes": 100_000, "pixels": 20_000},
    )  # fmt: skip

    wrong = server.predict(image, "?confi=0.4")
    assert (wrong.status, wrong.content["error"]["hint"]) == (400, "Did you mean 'conf'?")
    assert server.predict(image, "?conf=2").content["error"]["hint"] == "For example: conf=0.5"
    assert server.predict(image, "?conf=x").content["error"]["message"].startswith("conf=x: Expected")
    assert server.predict(image, "?conf=0.4&conf=0.5").status == 400
    broken = server.ask("POST", "/predict", b"\xff\xd8 not a JPEG")
    assert broken.status == 400
    assert "is not an image" in broken.content["error"]["message"]
    assert server.ask("POST", "/predict", b"").status == 400

    large = server.ask("POST", "/predict", bytes(100_001))
    assert (large.status, large.content["error"]["message"]) == (413, "The body is larger than 100.0 kB.")
    assert server.ask("POST", "/predict", bytes(40_000_000)).status == 413, "the client sees it after it has sent all"
    form = server.ask("POST", "/predict", b"--b--", {"Content-Type": "multipart/form-data; boundary=b"})
    assert (form.status, form.content["error"]["hint"]) == (415, "With curl: --data-binary @image.jpg")
    from adaptrt.vision.images import encode_image

    many = server.ask("POST", "/predict", encode_image(np.zeros((200, 101, 3), np.uint8)))
    assert many.status == 400
    assert many.content["error"]["message"].endswith(" is too large: the maximum is 20,000 pixels.")

    wrong = server.ask("GET", "/predict")
    assert (wrong.status, wrong.content["error"]["hint"]) == (405, "With curl: --data-binary @image.jpg")
    assert [server.ask("HEAD", path).status for path in ("/health", "/predict", "/other")] == [200, 405, 404]
    assert server.ask("GET", "/other").status == 404
    assert server.ask("PUT", "/predict", b"x").status == 501
    assert server.ask("GET", "/health", headers={"Host": "attacker.example"}).status == 403
    chunked = server.ask("POST", "/predict", headers={"Transfer-Encoding": "chunked"})
    assert (chunked.status, chunked.content["error"]["hint"][:20]) == (411, "Send the image as a ")
    assert server.predict(image)[:2] == (200, whole[0]), "it still answers"

    text = server.ask("GET", "/metrics")
    assert text.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    line = r'(?:# (?:HELP|TYPE) [a-z_]+ .+|[a-z_]+(?:\{[a-z]+="(?:[^"\\]|\\.)*"(?:,[a-z]+="(?:[^"\\]|\\.)*")*\})? \S+)'
    assert re.fullmatch(rf"(?:{line}\n)+", text.content)
    assert server.metric("adaptrt_images_total") == server.metric("adaptrt_batches_total") == 3
    assert server.metric('adaptrt_requests_total{status="413"}') == 2
    assert server.metric('adaptrt_predict_seconds_bucket{le="+Inf"}') == server.metric("adaptrt_predict_seconds_count")

    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(HANG) == 0
    assert server.process.stderr is not None
    assert server.process.stderr.read() == "Stopped.\n"
    with pytest.raises(OSError):
        server.ask("GET", "/health")


@pytest.mark.full
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_requests_in_progress_are_answered_before_it_ends(
    image: Path, serve: Callable[..., Server], number: signal.Signals
) -> None:
    """Half of a request is there when the signal comes; the rest is sent afterwards."""
    server, body = serve("classifier"), image.read_bytes()
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection((server.host, server.port), timeout=HANG) as client:
        client.sendall(head + body[:100])
        wait_until(lambda: b"adaptrt" in server.ask("GET", "/metrics").content.encode(), "another request is answered")
        server.process.send_signal(number)
        wait_until(lambda: not accepts(server), "it stops listening")
        client.sendall(body[100:])
        answer = b"".join(iter(lambda: client.recv(1 << 16), b""))
    assert answer.startswith(b"HTTP/1.1 200")
    assert server.process.wait(HANG) == 0


def accepts(server: Server) -> bool:
    try:
        socket.create_connection((server.host, server.port), timeout=HANG).close()
    except OSError:
        return False
    return True


@pytest.mark.full
def test_concurrent_requests_are_joined(image: Path, serve: Callable[..., Server]) -> None:
    server = serve("detector", "--max-batch", "4", "--max-delay", "1000")
    alone = server.predict(image).content
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda query: server.predict(image, query), ["", "?conf=0.9"] * 4))
    assert [answer.status for answer in answers] == [200] * 8
    assert len(answers[1].content["detections"]) < len(alone["detections"])
    for answer in answers[::2]:
        np.testing.assert_allclose(
            [box["box"] for box in answer.content["detections"]], [box["box"] for box in alone["detections"]], atol=2e-3
        )
    assert server.metric("adaptrt_images_total") == 9
    assert server.metric("adaptrt_batches_total") < 9


@pytest.mark.full
def test_slow_and_surplus_connections_do_not_block_it(image: Path, serve: Callable[..., Server]) -> None:
    server = serve("classifier", "--max-connections", "2")
    silent = [socket.create_connection((server.host, server.port), timeout=HANG) for _ in range(2)]
    wait_until(lambda: server.ask("GET", "/health").status == 503, "connections are counted")
    for connection in silent:
        connection.close()
    wait_until(lambda: server.predict(image).status == 200, "there is room again")


@pytest.mark.full
def test_a_request_that_does_not_arrive_is_closed(serve: Callable[..., Server]) -> None:
    server = serve("classifier", "--timeout", "1")

    def answer_to(part: bytes) -> bytes:
        with socket.create_connection((server.host, server.port), timeout=HANG) as connection, suppress(OSError):
            connection.sendall(part)
            return b"".join(iter(lambda: connection.recv(1 << 16), b""))
        return b"closed before it was sent"

    part = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc"
    wait_until(lambda: answer_to(part).startswith(b"HTTP/1.1 408"), "an answer to a part of a request")
    assert answer_to(b"") == b"", "closed without a request"
    with socket.create_connection((server.host, server.port), timeout=HANG) as slow:
        slow.sendall(b"GET /health HTTP/1.1\r\n")

        def is_closed() -> bool:
            try:
                slow.sendall(b"X-Slow: 1\r\n")
            except OSError:
                return True
            return False

        wait_until(is_closed, "a client that keeps sending headers is disconnected")


def test_what_cannot_be_served_is_named(adaptrt: Any, converted: Converted) -> None:
    before = threading.active_count()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        used = adaptrt("serve", converted("classifier"), "--port", taken.getsockname()[1])
    assert used.code == 2
    assert "Cannot listen on 127.0.0.1:" in used.err
    largest = adaptrt("serve", converted("classifier"), "--port", "0", "--max-batch", "4096")
    assert largest.code == 2
    assert "--max-batch must be 1 to " in largest.err
    unknown = adaptrt("serve", converted("classifier"), "--port", "0", "--host", "no host")
    assert unknown.code == 2
    assert "--host no host" in unknown.err
    assert threading.active_count() == before, "nothing is left running"
