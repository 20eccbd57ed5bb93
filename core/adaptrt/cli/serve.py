"""``adaptrt serve``."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adaptrt.cli.framework import Command, FileArgument, general_options, option
from adaptrt.cli.output import echo, echo_json
from adaptrt.cli.running_flags import options_from_flags, running_flags

if TYPE_CHECKING:
    from types import FrameType

POLL = 0.1  # seconds
_PIXELS = "OPENCV_IO_MAX_IMAGE_PIXELS"

MODEL, SERVER, LIMITS = "Model", "Server", "Limits"

EXAMPLES = (
    ("adaptrt serve best.onnx --port 8000", "answer requests from this machine"),
    ("curl --data-binary @bus.jpg http://127.0.0.1:8000/predict", "the predictions for an image, as JSON"),
    ("curl --data-binary @bus.jpg 'http://127.0.0.1:8000/predict?conf=0.4'", "with another decoder parameter"),
    ("adaptrt serve best.engine --max-batch 8 --max-delay 5", "batch requests that arrive within 5 ms"),
)


@click.command("serve", cls=Command, examples=EXAMPLES)
@click.argument("model", cls=FileArgument)
@running_flags(MODEL)
@option("--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, section=SERVER, help="Address to listen on; 0.0.0.0: accept requests from other machines too.")  # fmt: skip
@option("--port", type=click.IntRange(0, 65535), metavar="N", default=8000, show_default=True, section=SERVER, help="Port to listen on; 0: any free port.")  # fmt: skip
@option("--max-batch", type=click.IntRange(min=1), metavar="N", default=1, show_default=True, section=SERVER, help="Images of concurrent requests that run at once; 1 gives exactly the results of predict.")  # fmt: skip
@option("--max-delay", type=click.FloatRange(0, 1000), metavar="MS", default=5.0, show_default=True, section=SERVER, help="Maximum time that an image waits for others, in milliseconds, with --max-batch.")  # fmt: skip
@option("--max-body", type=click.FloatRange(min=0, min_open=True), metavar="MB", default=20.0, show_default=True, section=LIMITS, help="Maximum size of a request body, in megabytes.")  # fmt: skip
@option("--max-pixels", type=click.FloatRange(min=0, min_open=True), metavar="MP", default=50.0, show_default=True, section=LIMITS, help="Maximum image size, in megapixels.")  # fmt: skip
@option("--max-connections", type=click.IntRange(min=1), metavar="N", default=64, show_default=True, section=LIMITS, help="Maximum number of open connections; further ones get status 503.")  # fmt: skip
@option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="S", default=30.0, show_default=True, section=LIMITS, help="Time limit for receiving a request, in seconds.")  # fmt: skip
@general_options
@click.pass_context
def serve(
    ctx: click.Context,
    /,
    model: str,
    host: str,
    port: int,
    max_batch: int,
    max_delay: float,
    max_body: float,
    max_pixels: float,
    max_connections: int,
    timeout: float,
    verbose: int,
    quiet: bool,
    as_json: bool,
    **_: Any,
) -> None:
    """Answer HTTP requests with a converted FILE: a plain server for trying it out, without authentication or encryption.

    POST /predict takes an image file as the body, and decoder parameters in the query string; the response has the keys of
    predict --json. GET /health answers with status 200 when the model is ready, and GET /metrics with counters in the
    text format of Prometheus. Ctrl-C and SIGTERM end the server after the requests in progress, with exit code 0.

    For production: adaptrt package triton.
    """
    from adaptrt.cli.output import redirect_stdout_to_stderr
    from adaptrt.pipeline.executors import LOCAL

    pixels = max(1, round(max_pixels * 1e6))
    _load_opencv(pixels)
    from adaptrt.serving.server import PredictionServer, ServerOptions

    settings = ServerOptions(
        host=host,
        port=port,
        max_body=max(1, round(max_body * 1e6)),
        max_pixels=pixels,
        max_batch=max_batch,
        max_delay=max_delay / 1000,
        max_connections=max_connections,
        timeout=timeout,
        log=(lambda text: echo(text, err=True)) if verbose else lambda _: None,
    )
    with _Ending() as ended, ExitStack() as stack:
        with redirect_stdout_to_stderr(verbose):
            opened = stack.enter_context(LOCAL.open(Path(model), options_from_flags(ctx.params)))
            server = PredictionServer(opened, settings)
        stack.callback(server.stop)
        server.start()
        _announce(model, server.url, quiet=quiet, as_json=as_json)
        with redirect_stdout_to_stderr(verbose):
            ended.wait()
    if not quiet:
        echo("Stopped.", err=True)


def _announce(model: str, url: str, *, quiet: bool, as_json: bool) -> None:
    if as_json:
        echo_json({"model": model, "url": url})
    elif not quiet:
        echo(f"Serving {model} at {url} (Ctrl-C ends)")
    sys.stdout.flush()


def _load_opencv(pixels: int) -> None:
    """Load OpenCV with a limit for images; it reads it only then."""
    given = os.environ.get(_PIXELS)
    os.environ[_PIXELS] = str(pixels)
    try:
        import adaptrt.vision.opencv  # noqa: F401
    finally:
        if given is None:
            del os.environ[_PIXELS]
        else:
            os.environ[_PIXELS] = given


class _Ending:
    """Whether Ctrl-C or SIGTERM has asked the server to end; the second signal has its usual effect."""

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> _Ending:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._end)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def wait(self) -> None:
        # not an Event: its lock is not for signal handlers, and a signal that another thread receives does not end its wait
        while not self.requested:
            time.sleep(POLL)

    def _end(self, _: int, __: FrameType | None) -> None:
        self.requested = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
