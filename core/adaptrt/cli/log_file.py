"""``--log-file``: what the library logs, in a file."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click

from adaptrt.cli.output import discard_output, echo
from adaptrt.errors import OutputError
from adaptrt.store.workspace import created_folder


def open_log(ctx: click.Context, path: str) -> None:
    """Append what the logger ``adaptrt`` receives to a file until the command ends; its command line comes first."""
    from adaptrt.cli.given import arguments

    try:
        with created_folder(Path(path).parent):
            handler = _LogFile(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise OutputError(
            f"--log-file {path} cannot be written: {error.strerror}.", hint="Choose another file with --log-file."
        ) from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("adaptrt")
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.info("%s %s", ctx.command_path, " ".join(arguments(ctx)))

    def close() -> None:
        logger.removeHandler(handler)
        handler.close()
        logger.setLevel(level)
        logger.propagate = propagate

    ctx.find_root().call_on_close(close)


class _LogFile(logging.FileHandler):
    """A file whose disk may become full: that ends the log, but not the command."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        if self.stream is not None:
            discard_output(self.stream)
        name = Path(self.baseFilename).name
        echo(f"Warning: the log {name} is incomplete: it cannot be written: {error.strerror or error}.", err=True)


def log_failure(message: str, hint: str | None) -> None:
    """The error that a command ends with."""
    logging.getLogger("adaptrt").error("%s", " ".join(filter(None, [message, hint])))
