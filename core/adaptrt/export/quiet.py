"""Silences the exporters: problems are raised as errors, found by the checks, or recorded."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import torch

_LOG_GRAPH = "_jit_onnx_log"  # with verbose, prints the whole graph, bypassing sys.stdout


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop what this thread prints, logs and warns of. What other threads print and log meanwhile is not the exporters'."""
    log_graph, handle = getattr(torch._C, _LOG_GRAPH), logging.Logger.handle
    own = threading.get_ident()

    def handle_others(logger: logging.Logger, record: logging.LogRecord) -> None:
        if threading.get_ident() != own or record.levelno > logging.ERROR:
            handle(logger, record)

    setattr(torch._C, _LOG_GRAPH, lambda *_: None)
    setattr(logging.Logger, "handle", handle_others)  # noqa: B010
    try:
        with warnings.catch_warnings(), _without_output():
            warnings.simplefilter("ignore")
            yield
    finally:
        setattr(logging.Logger, "handle", handle)  # noqa: B010
        setattr(torch._C, _LOG_GRAPH, log_graph)


@contextlib.contextmanager
def _without_output() -> Iterator[None]:
    streams = _Others(sys.stdout), _Others(sys.stderr)
    try:
        with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
            yield
    finally:
        for stream in streams:
            stream.silenced = None  # a handler of a logger may have kept it


class _Others:
    """A stream for other threads than the one that it silences."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.silenced: int | None = threading.get_ident()

    def write(self, text: str) -> int:
        if self._stream is not None and threading.get_ident() != self.silenced:
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        if self._stream is not None:
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
