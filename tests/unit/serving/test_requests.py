"""A request has one time limit, however often a byte of it arrives, and a declared size of any length."""

from __future__ import annotations

import io
import socket

import pytest

from adaptrt.serving.server import declared_size
from adaptrt.socket_deadline import DeadlineReader


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("000", 0),
        ("12", 12),
        ("0" * 5000 + "7", 7),
        ("", None),
        ("-1", None),
        ("1_0", None),
        ("\u0663", None),
    ],
)
def test_a_declared_size(text: str, size: int | None) -> None:
    assert declared_size(text) == size


def test_a_declared_size_of_thousands_of_digits() -> None:
    assert declared_size("9" * 5000) > 1 << 64  # type: ignore[operator]


def test_the_limit_does_not_begin_anew_with_every_byte() -> None:
    client, server = socket.socketpair()
    with client, server:
        server.settimeout(30)
        now = 0.0
        reader = io.BufferedReader(DeadlineReader(server, 5, lambda: now))
        client.sendall(b"GET / HTTP/1.1\r\n")
        assert reader.readline() == b"GET / HTTP/1.1\r\n"
        for now in (1.0, 2.0, 3.0, 4.0):  # noqa: B007 - read by the clock
            client.sendall(b"x")
            assert reader.read1(1) == b"x"
        now = 5.0
        client.sendall(b"x")
        with pytest.raises(TimeoutError):
            reader.readline()
        assert server.gettimeout() == 30
