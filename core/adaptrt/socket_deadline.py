"""Reading from a connection within a time limit: a timeout of the socket begins anew with every byte."""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable


class DeadlineReader(io.RawIOBase):
    """What a connection receives until ``deadline``, of ``clock``; then a ``TimeoutError``. Writing keeps the connection's own
    timeout."""

    def __init__(self, connection: socket.socket, deadline: float, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._connection, self._deadline, self._clock = connection, deadline, clock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._deadline - self._clock()
        if left <= 0:
            raise TimeoutError("it did not arrive in time")
        own = self._connection.gettimeout()
        self._connection.settimeout(left)
        try:
            return self._connection.recv_into(buffer)
        finally:
            self._connection.settimeout(own)
