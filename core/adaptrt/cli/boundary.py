"""The one place where an exception becomes a message and an exit code."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING

import click

from adaptrt.errors import AdaptrtError

if TYPE_CHECKING:
    from adaptrt.report import Report

INTERRUPTED = 130
BROKEN_PIPE = 1  # what click itself answers


class Terminated(BaseException):
    """A signal that asks the process to end; raised so that everything on the way cleans up."""

    def __init__(self, number: int) -> None:
        super().__init__(f"Ended by {signal.Signals(number).name}")
        self.exit_code = 128 + number


def run(command: click.Command, args: Sequence[str], name: str) -> int:
    """Run a command; the exit code. Errors become one line on standard error, and JSON on standard output with
    ``--json``; a traceback is shown only with ``--debug``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a locale without "≤" must not stop anything
            stream.reconfigure(errors="replace")
    try:
        with _ends_cleanly():
            return _run(command, list(args), name)
    except BrokenPipeError:
        # whoever read standard output is gone: nothing more can be said, and Python must not try at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE


def _run(command: click.Command, args: list[str], name: str) -> int:
    given = args[: args.index("--")] if "--" in args else args
    try:
        result = command.main(args, prog_name=name, standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except BrokenPipeError:
        raise
    except (Exception, KeyboardInterrupt, Terminated) as error:
        failure = _failure_of(error, name)
        click.echo(_text(failure), err=True, color=False if os.environ.get("NO_COLOR") else None)
        if "--json" in given:
            _echo_json(failure)
        elif failure.report is not None:
            _show_checks(failure.report)
        if "--debug" in given:
            traceback.print_exception(error)
        return failure.exit_code


@dataclass(frozen=True)
class _Failure:
    """What is told of an error; ``report`` is what a conversion knew by then."""

    kind: str
    message: str
    hint: str | None
    exit_code: int
    report: Report | None = None


def _failure_of(error: BaseException, name: str) -> _Failure:
    if isinstance(error, AdaptrtError):
        return _Failure(type(error).__name__, error.message, error.hint, error.exit_code, error.report)
    if isinstance(error, click.ClickException):
        path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else name
        return _Failure("UsageError", error.format_message(), f"See: {path} --help", error.exit_code)
    if isinstance(error, (click.Abort, KeyboardInterrupt)):  # click turns the second into the first
        return _Failure("Interrupted", "Interrupted", None, INTERRUPTED)
    if isinstance(error, Terminated):
        return _Failure("Interrupted", str(error), None, error.exit_code)
    message = f"internal error: {type(error).__name__}: {error}"
    return _Failure("InternalError", message, "Run it again with --debug, and report what it shows.", 1)


def _text(failure: _Failure) -> str:
    if failure.kind == "Interrupted":
        return failure.message
    text = click.style("Error: ", fg="red", bold=True) + failure.message
    return f"{text}\n{failure.hint}" if failure.hint else text


def _show_checks(report: Report) -> None:
    if any(link.checks for link in report.links):
        from adaptrt.rendering.terminal import checks_table, stderr_console

        console = stderr_console()
        console.print()
        console.print(checks_table(report))


def _echo_json(failure: _Failure) -> None:
    """The error; with it what the report of a conversion knew."""
    known = json.loads(failure.report.to_json()) if failure.report is not None else {"status": "failed"}
    error = {"kind": failure.kind, "message": failure.message, "hint": failure.hint, "exit_code": failure.exit_code}
    click.echo(json.dumps({**known, "error": error}, indent=2, ensure_ascii=False))


@contextmanager
def _ends_cleanly() -> Iterator[None]:
    """SIGTERM and SIGHUP end the process the way Ctrl-C does; a second one does not interrupt the cleaning up."""

    def end(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise Terminated(number)

    previous = {}
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            previous[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
