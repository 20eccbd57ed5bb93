"""The build process: ``python -m adaptrt.backends.tensorrt.build.child message.json``.

Reports events as lines of JSON on its standard output.

A separate process, because TensorRT's builder blocks (8.6 cannot be interrupted), and because a crash must not affect the
caller.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import traceback
from pathlib import Path

from adaptrt.backends.tensorrt.build.builder import build_plan
from adaptrt.backends.tensorrt.build.log import Severity
from adaptrt.backends.tensorrt.build.messages import Event, decode_message
from adaptrt.backends.tensorrt.generations import import_tensorrt, product_named
from adaptrt.errors import AdaptrtError

_LEVELS: list[Severity] = ["verbose", "info", "warning", "error", "internal error"]
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    end_with_parent()
    end_with_input()
    channel = own_channel()

    def tell(event: Event) -> None:
        os.write(channel, event.encode() + b"\n")

    try:
        message = decode_message(Path(arguments[0]).read_bytes())
        lowest = _LEVELS.index(message.log_level)

        def log(severity: Severity, text: str) -> None:
            if _LEVELS.index(severity) >= lowest:
                tell(Event("log", text, severity))

        built = build_plan(
            import_tensorrt(product_named(message.product), builder=True),
            message,
            log=log,
            stage=lambda name: tell(Event("stage", name)),
            progress=lambda at: tell(Event("progress", at.text, fraction=at.fraction)),
        )
        tell(Event("done", built=built))
        status = 0
    except AdaptrtError as error:
        tell(Event("error", error.message, hint=error.hint, error=type(error).__name__))
        status = error.exit_code
    except Exception as error:
        traceback.print_exc()
        tell(Event("error", f"{type(error).__name__}: {error}", error="unexpected"))
        status = 1
    return status


def own_channel() -> int:
    """A descriptor for events only: all other output, including that of native code, goes to the standard error."""
    channel = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return channel


def end_with_parent() -> None:
    """Request SIGKILL when the parent process dies (Linux)."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def end_with_input() -> None:
    """Request SIGIO, which ends the process, when the caller closes its end of the standard input (Linux).

    Processes that the caller has forked meanwhile have it too. It is also closed if Ctrl-C interrupts the caller after it has
    started this process, and before it has its handle.
    """
    if sys.platform == "linux":
        import fcntl

        signal.signal(signal.SIGIO, signal.SIG_DFL)
        fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
        if select.select([0], [], [], 0)[0]:  # it was closed before
            os._exit(1)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)  # skip the teardown of TensorRT's objects, whose order is undefined
