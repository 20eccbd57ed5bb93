"""Connections beyond the limit, and request bodies that are not read: their clients still see an answer.

A connection that is closed with unread data is reset, and its client may get an error instead of the answer.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from adaptrt.json_text import json_text

DRAINED = 1 << 30  # bytes of a rejected body that are read and discarded
_CHUNK = 1 << 16
_LINGER = 2.0  # seconds
_MOST = 32  # connections that are rejected at once; others are closed without an answer
_LEAVING = 0.1  # seconds in which a connection whose client has its answer ends
_BUSY = json_text({"error": {"message": "Too many connections.", "hint": "Send the request again later."}}).encode()
_HEAD = f"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: {len(_BUSY)}\r\n"


class Surplus:
    """Handles connections beyond ``slots``, outside the thread that accepts connections."""

    def __init__(self, slots: threading.Semaphore, log: Callable[[str], None]) -> None:
        self._slots, self._log = slots, log
        self._rejected = threading.BoundedSemaphore(_MOST)

    def handle(self, request: socket.socket, serve: Callable[[], None], close: Callable[[], None]) -> None:
        """Serve a connection if a slot becomes free at once, which ``serve`` gives back; else answer with 503 and ``close``."""
        if not self._rejected.acquire(blocking=False):
            close()
            return

        def work() -> None:
            try:
                if self._slots.acquire(timeout=_LEAVING):
                    serve()
                    return
                self._answer(request)
            finally:
                self._rejected.release()
            close()

        try:
            threading.Thread(target=work, name="adaptrt-surplus", daemon=True).start()
        except RuntimeError:  # no more threads
            self._rejected.release()
            close()

    def _answer(self, request: socket.socket) -> None:
        try:
            request.settimeout(1.0)
            request.sendall(f"{_HEAD}Retry-After: 1\r\nConnection: close\r\n\r\n".encode() + _BUSY)
        except OSError as error:  # the client is gone
            self._log(f"503: {error}")
            return
        linger(request)


def linger(request: socket.socket) -> None:
    """Read what the client still sends after its answer, for a short time."""
    end = time.monotonic() + _LINGER
    left = DRAINED
    with suppress(OSError):
        request.shutdown(socket.SHUT_WR)
        while left > 0 and (remaining := end - time.monotonic()) > 0:
            request.settimeout(remaining)
            part = request.recv(_CHUNK)
            if not part:
                return
            left -= len(part)
