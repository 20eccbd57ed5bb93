"""An RTSP server for tests: motion JPEG over RTP (RFC 2435), inside the RTSP connection."""

from __future__ import annotations

import itertools
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import cv2
import numpy as np

_JPEG, _CLOCK, _PAYLOAD = 26, 90_000, 1200
_SDP = f"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP {_JPEG}\r\na=control:video\r\na=framerate:50\r\n"


class Camera(socketserver.ThreadingTCPServer):
    """Plays ``frame(index)``, BGR, from 0 on in each connection. ``lengths``: how many frames the first connections play."""

    daemon_threads = allow_reuse_address = True

    def __init__(self, frame: Callable[[int], np.ndarray], lengths: tuple[int, ...], rate: float) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.frame, self.lengths, self.rate = frame, iter(lengths), rate
        self.played: list[int] = []
        self.requests: list[str] = []
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"rtsp://user:secret@127.0.0.1:{self.server_address[1]}/camera"


@contextmanager
def serving(frame: Callable[[int], np.ndarray], *lengths: int, rate: float = 50) -> Iterator[Camera]:
    with Camera(frame, lengths, rate) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()


class _Connection(socketserver.StreamRequestHandler):
    server: Camera

    def handle(self) -> None:
        try:
            while request := self._request():
                method, sequence = request
                self.server.requests.append(method)
                headers = {"CSeq": sequence, "Session": "1"}
                body = ""
                if method == "OPTIONS":
                    headers["Public"] = "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN"
                elif method == "DESCRIBE":
                    body, headers["Content-Type"] = _SDP, "application/sdp"
                    headers["Content-Length"] = str(len(body))
                elif method == "SETUP":
                    headers["Transport"] = "RTP/AVP/TCP;unicast;interleaved=0-1"
                self._answer(headers, body)
                if method == "PLAY":
                    self._play(next(self.server.lengths, None))
                    return
        except OSError:  # the client has gone
            return

    def _request(self) -> tuple[str, str] | None:
        first = self.rfile.readline().decode()
        lines = iter(lambda: self.rfile.readline().decode().strip(), "")
        fields = dict(line.lower().split(": ", 1) for line in lines) if first else {}
        return (first.split()[0], fields["cseq"]) if first else None

    def _answer(self, headers: dict[str, str], body: str) -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.wfile.write(f"RTSP/1.0 200 OK\r\n{lines}\r\n{body}".encode())

    def _play(self, length: int | None) -> None:
        sequence, started = itertools.count(), time.monotonic()
        self.server.played.append(0)
        for index in itertools.count() if length is None else range(length):
            if self.server.closing.is_set():
                return
            time.sleep(max(0.0, started + index / self.server.rate - time.monotonic()))
            for packet in _packets(self.server.frame(index), int(index * _CLOCK / self.server.rate), sequence):
                self.wfile.write(b"$\0" + struct.pack(">H", len(packet)) + packet)
            self.server.played[-1] += 1


def _packets(frame: np.ndarray, timestamp: int, sequence: Iterator[int]) -> Iterator[bytes]:
    height, width = frame.shape[:2]
    tables, scan = _parts(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes())
    for start in range(0, len(scan), _PAYLOAD):
        part = scan[start : start + _PAYLOAD]
        marker = 0x80 if start + _PAYLOAD >= len(scan) else 0
        rtp = struct.pack(">BBHII", 0x80, marker | _JPEG, next(sequence) & 0xFFFF, timestamp, 1)
        jpeg = struct.pack(">IBBBB", start, 1, 255, width // 8, height // 8)  # 1: chroma is halved in both directions
        yield rtp + jpeg + (struct.pack(">BBH", 0, 0, len(tables)) + tables if start == 0 else b"") + part


def _parts(jpeg: bytes) -> tuple[bytes, bytes]:
    """The quantization tables, and what follows the header of the scan."""
    at, tables = 2, b""
    while True:
        marker, size = jpeg[at + 1], int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if marker == 0xDB:
            content = jpeg[at + 4 : at + 2 + size]
            tables += b"".join(content[place + 1 : place + 65] for place in range(0, len(content), 65))
        at += 2 + size
        if marker == 0xDA:
            return tables, jpeg[at:-2]
