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

from adaptrt.cli.given import Switches
from adaptrt.cli.output import cannot_be_written, discard_output, echo, echo_json, output_may_be_lost
from adaptrt.cli.tracing import tracing_if_requested
from adaptrt.errors import AdaptrtError, ModelError, OutputError, PluginError, UsageError

if TYPE_CHECKING:
    from adaptrt.report import Report

INTERRUPTED = 130
_PRINTERS = ("click.utils", "rich.console")  # of help and tables
BROKEN_PIPE = 141  # 128 + SIGPIPE, as a shell reports it


class Terminated(BaseException):
    """A signal that asks the process to end; raised so that every caller cleans up."""

    def __init__(self, number: int) -> None:
        super().__init__(f"Terminated by {signal.Signals(number).name}")
        self.exit_code = 128 + number


def run(command: click.Command, args: Sequence[str], name: str) -> int:
    """Run a command; the exit code. Errors become one line on standard error, and JSON on standard output with
    ``--json``; a traceback is shown only with ``--debug``."""
    _open_missing_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a locale without "≤" must not stop anything
            stream.reconfigure(errors="replace")
    try:
        with _ends_cleanly(), tracing_if_requested():
            return _run(command, list(args), name)
    except BrokenPipeError:  # the reader of standard output is gone: nothing more can be printed
        _discard_output()
        return BROKEN_PIPE


def _open_missing_streams() -> None:
    """If standard output or error is closed at startup (``>&-``), open the null device in its place.

    Otherwise the next file that is opened would get the descriptor of standard output.
    """
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            place = os.open(os.devnull, os.O_WRONLY)
            if place != number:
                os.dup2(place, number)
                os.close(place)
            setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115


def _discard_output() -> None:
    """Python flushes at exit, which must not fail a second time."""
    for stream in (sys.stdout, sys.stderr):
        discard_output(stream)


def _run(command: click.Command, args: list[str], name: str) -> int:
    switches = Switches()  # a command adds those of its environment variables
    switches.turn_on(args[: args.index("--")] if "--" in args else args)
    try:
        _require_text(args)
        result = command.main(args, prog_name=name, standalone_mode=False, obj=switches)
        with output_may_be_lost():
            sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except BrokenPipeError:
        raise
    except SystemExit as error:
        if not isinstance(sys.stdout, io.TextIOBase):  # click's wrapper, which exits like this on a closed pipe
            raise BrokenPipeError from error
        raise
    except (Exception, KeyboardInterrupt, Terminated) as error:
        failure = _failure_of(error, name)
        _show(failure)
        if switches.as_json:
            _echo_json(failure)
        elif failure.report is not None:
            _show_checks(failure.report)
        if switches.debug:
            echo("".join(traceback.format_exception(error)).rstrip(), err=True)
        return failure.exit_code


def _require_text(args: Sequence[str]) -> None:
    """Reject arguments that are not text; the shell passes any bytes."""
    for arg in args:
        if "\0" in arg:
            raise UsageError(f"The argument {arg!r} contains a NUL character.", hint="Retype it.")
        if any("\ud800" <= character <= "\udfff" for character in arg):
            raise UsageError(f"The argument {arg!r} is not valid UTF-8 text.", hint="Rename the file, or retype it.")


@dataclass(frozen=True)
class _Failure:
    """What is printed for an error; ``report`` is that of the failed conversion, if any."""

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
        missing = error.ctx.command if isinstance(error, click.MissingParameter) and error.ctx else None
        example = next((line for line, _ in getattr(missing, "examples", ())), None)
        hint = f"For example: {example} (see: {path} --help)" if example else f"See: {path} --help"
        message = error.format_message()
        if isinstance(error, click.MissingParameter):  # click puts each choice on a separate line
            message = " ".join(message.split())
        return _Failure("UsageError", message, hint, error.exit_code)
    if isinstance(error, (click.Abort, KeyboardInterrupt)):  # click turns the second into the first
        return _Failure("Interrupted", "Interrupted", None, INTERRUPTED)
    if isinstance(error, Terminated):
        return _Failure("Interrupted", str(error), None, error.exit_code)
    if isinstance(error, OSError) and error.errno is not None:  # the disk, a path, a limit: not a bug
        *_, (last, _) = traceback.walk_tb(error.__traceback__)
        if last.f_globals.get("__name__") in _PRINTERS:
            discard_output(sys.stdout)
            return _Failure("OutputError", cannot_be_written(error), None, OutputError.exit_code)
        where = f" ({error.filename})" if error.filename is not None else ""
        return _Failure("OutputError", f"{error.strerror}{where}.", None, OutputError.exit_code)
    if isinstance(error, MemoryError):
        return _Failure(
            "ModelError", "Out of memory.", "The file requires more memory than is available.", ModelError.exit_code
        )
    if (failure := _plugin_failure(error)) is not None:
        return failure
    message = f"internal error: {type(error).__name__}: {error}"
    return _Failure("InternalError", message, "Run it again with --debug and report the output.", 1)


def _plugin_failure(error: BaseException) -> _Failure | None:
    """An exception that passed through the code of a plugin, called outside of hooks: a task, a command, an executor."""
    from adaptrt.plugins.raised_at import packages, raised_at
    from adaptrt.specs.registry import distribution_of_module

    for package in packages(error):
        distribution = distribution_of_module(package)
        if distribution is not None:
            message = f"{distribution} failed: {type(error).__name__}: {error}"
            hint = f"{raised_at(error, package)} Use --debug to show the full traceback."
            return _Failure("PluginError", message, hint, PluginError.exit_code)
    return None


def _show(failure: _Failure) -> None:
    if failure.kind == "Interrupted":
        echo(failure.message, err=True)
        return
    color = False if os.environ.get("NO_COLOR") else None
    click.echo(click.style("Error: ", fg="red", bold=True), err=True, nl=False, color=color)
    echo(f"{failure.message}\n{failure.hint}" if failure.hint else failure.message, err=True)


def _show_checks(report: Report) -> None:
    if any(link.checks for link in report.links):
        from adaptrt.rendering.terminal import checks_table, stderr_console

        console = stderr_console()
        console.print()
        console.print(checks_table(report))
    found = report.failure.comparison if report.failure is not None else None
    if found is not None:
        from adaptrt.pipeline.layers.records import LayerComparison
        from adaptrt.rendering.layers import comparison_lines

        echo("\n".join(["", *comparison_lines(LayerComparison.from_json(json.dumps(found)))]), err=True)


def _echo_json(failure: _Failure) -> None:
    """The error, with the failed conversion's report."""
    known = json.loads(failure.report.to_json()) if failure.report is not None else {"status": "failed"}
    error = {"kind": failure.kind, "message": failure.message, "hint": failure.hint, "exit_code": failure.exit_code}
    echo_json({**known, "error": error})


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
