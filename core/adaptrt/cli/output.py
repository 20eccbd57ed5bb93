"""Printing to standard output, and keeping everything else away from it."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

import click

from adaptrt.errors import OutputError
from adaptrt.json_text import json_text
from adaptrt.rendering.printable import printable, printable_json, printable_styled


def echo(text: object = "", *, err: bool = False, styled: bool = False) -> None:
    """Print a line; control characters are escaped. ``styled``: adaptrt's own text, colored by ``click.style``."""
    line = printable_styled(str(text)) if styled else printable(str(text))
    with output_may_be_lost():
        click.echo(line, err=err, color=False if os.environ.get("NO_COLOR") else None)


VERSION = 1
"""Of the JSON that commands print; see ``json_output``. Reports and other records that are stored have separate versions."""


def echo_json(content: Mapping[str, Any], *, indent: int | None = 2) -> None:
    """Print the result of a command; a number that is infinite or NaN becomes ``null``."""
    echo_json_text(json_text({"version": VERSION, **content}, indent=indent))


def echo_json_text(text: str) -> None:
    """Print text that is already JSON."""
    with output_may_be_lost():
        click.echo(printable_json(text))


@contextlib.contextmanager
def output_may_be_lost() -> Iterator[None]:
    """Raise an ``OutputError`` if standard output goes to a full disk, and discard all further output."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        discard_output(sys.stdout)
        raise OutputError(cannot_be_written(error)) from error


def cannot_be_written(error: OSError) -> str:
    return f"Standard output cannot be written: {error.strerror or error}."


def discard_output(stream: TextIO) -> None:
    """Python flushes at exit, which must not fail a second time."""
    with contextlib.suppress(OSError, ValueError):  # a stream without a descriptor, as under a test runner
        place = os.open(os.devnull, os.O_WRONLY)
        os.dup2(place, stream.fileno())
        os.close(place)


@contextlib.contextmanager
def redirect_stdout_to_stderr(verbose: int = 0) -> Iterator[None]:
    """Reserve standard output for the result: everything else printed there, also by C code, goes to standard error.

    Warnings of the frameworks are shown from ``-v`` on.
    """
    saved = _stdout_to_stderr()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
            if not verbose:
                warnings.simplefilter("ignore")
            yield
    finally:
        if saved is not None:
            os.dup2(saved, 1)
            os.close(saved)


def _stdout_to_stderr() -> int | None:
    """A copy of the file descriptor of standard output; ``None`` in a process without one."""
    sys.stdout.flush()
    try:
        saved = os.dup(1)
        os.dup2(2, 1)
    except OSError:
        return None
    return saved
