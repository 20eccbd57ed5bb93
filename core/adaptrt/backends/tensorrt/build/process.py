"""Starts, monitors and terminates the build process."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from adaptrt import errors
from adaptrt.backends.tensorrt.build.log import explain_failure
from adaptrt.backends.tensorrt.build.messages import BuildMessage, Built, Event, decode_event, encode_message
from adaptrt.errors import AdaptrtError, BuildError
from adaptrt.python_process import module_command

_TICK = 1.0  # seconds between progress events
_GRACE = 3.0  # seconds between SIGTERM and SIGKILL


def run_build(message: BuildMessage, workdir: Path, on_event: Callable[[Event], None]) -> Built:
    """Run one build in a separate process.

    ``on_event`` receives its events, and about once a second a ``progress`` event without text. Anything that ends the
    wait (Ctrl-C, ``options.timeout``, an error in ``on_event``) also ends the process and removes an unfinished plan.
    """
    message_file = workdir / "build-message.json"
    message_file.write_bytes(encode_message(message))
    with tempfile.TemporaryFile(dir=workdir) as stderr, _started(message_file, stderr) as process:
        try:
            return _follow(process, message, stderr, on_event)
        except BaseException:
            _end(process)
            Path(message.plan).unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def _started(message_file: Path, stderr: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    # a separate session: Ctrl-C in a terminal reaches only this process, which ends the build
    package = str(Path(errors.__file__).parents[1])
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), package]))
    environment = {**os.environ, "CUDA_MODULE_LOADING": "LAZY", "PYTHONPATH": path}
    process = subprocess.Popen(
        [*module_command("adaptrt.backends.tensorrt.build.child"), str(message_file)],
        stdin=subprocess.PIPE,  # nothing is written: the process ends when it is closed
        stdout=subprocess.PIPE,
        stderr=stderr,
        start_new_session=True,
        env=environment,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            _end(process)
        for pipe in filter(None, (process.stdin, process.stdout)):
            pipe.close()


def _follow(
    process: subprocess.Popen[bytes], message: BuildMessage, stderr: IO[bytes], on_event: Callable[[Event], None]
) -> Built:
    built: Built | None = None
    failure: Event | None = None
    logged: list[str] = []
    started = time.monotonic()
    for line in _lines(process):
        timeout = message.options.timeout
        if timeout is not None and time.monotonic() - started > timeout:
            raise BuildError(
                f"The build timed out after {timeout:.0f} s.",
                hint="Increase the timeout or reduce --opt-level. Timings may have been saved to the timing cache.",
            )
        if line is None:
            on_event(Event("progress"))
            continue
        try:
            event = decode_event(line)
        except ValueError as error:
            raise BuildError(f"Unexpected output from the build process: {line[:120]!r}.") from error
        if event.kind == "done":
            built = event.built
        elif event.kind == "error":
            failure = event
        else:
            if event.kind == "log" and event.severity in ("error", "internal error"):
                logged.append(" ".join(event.text.split()))
            on_event(event)
    status = process.wait()
    if failure is not None:
        raise _failure(failure, logged, _tail(stderr))
    if status != 0 or built is None:
        raise _death(status, logged, _tail(stderr))
    return built


def _lines(process: subprocess.Popen[bytes]) -> Iterator[bytes | None]:
    """Lines from the process, with ``None`` after each interval without output, until the pipe is closed."""
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            if not selector.select(_TICK):
                yield None
                continue
            block = os.read(descriptor, 1 << 16)
            if not block:
                return
            *lines, rest = (rest + block).split(b"\n")
            yield from lines


def _end(process: subprocess.Popen[bytes]) -> None:
    """Send SIGTERM, which also ends native code, then SIGKILL, to the whole process group."""
    for signal_number, patience in ((signal.SIGTERM, _GRACE), (signal.SIGKILL, None)):
        if process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal_number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)


def _failure(event: Event, logged: list[str], tail: str) -> AdaptrtError:
    kind = getattr(errors, event.error, None)
    if kind is not None and logged and event.hint is None:
        return BuildError(
            f"{event.text} {logged[-1]}", hint=explain_failure(logged) or "Use -v to show all of TensorRT's messages."
        )
    if kind is not None:
        error: AdaptrtError = kind(event.text, hint=event.hint)
        return error
    return BuildError(
        f"The build process failed: {event.text}",
        hint=explain_failure([*logged, tail]) or (tail.strip()[-400:] or None),
    )


def _death(status: int, logged: list[str], tail: str) -> BuildError:
    """An error for a process that ended without a result."""
    said = f" TensorRT's last error: {logged[-1]}" if logged else ""
    if status == -signal.SIGKILL:
        return BuildError(
            "The build process was killed, most likely because the machine ran out of memory." + said,
            hint="Close other programs, reduce --opt-level, or reduce the maximum shapes.",
        )
    if status < 0:
        name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
        last = tail.strip().splitlines()[-1:] or [""]
        return BuildError(
            f"TensorRT crashed ({name}).{said}{f' Last stderr line: {last[0]}' if last[0] else ''}",
            hint=explain_failure([*logged, tail])
            or "Try another --opset or --exporter, or --precision fp32. If it persists, the graph triggers a bug in this TensorRT version.",
        )
    return BuildError(
        f"The build process exited with status {status} without a result.{said}",
        hint=tail.strip()[-400:] or "Use -v to show all of TensorRT's messages.",
    )


def _tail(stderr: IO[bytes]) -> str:
    stderr.seek(0, os.SEEK_END)
    stderr.seek(max(0, stderr.tell() - 4000))
    return stderr.read().decode(errors="replace")
