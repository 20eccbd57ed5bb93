"""How the commands that convert, build and quantize run a job and show its outcome."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from adaptrt.cli.output import echo_json_text, redirect_stdout_to_stderr
from adaptrt.cli.progress import choose_observer

if TYPE_CHECKING:
    from adaptrt.report import Report
    from adaptrt.request import Request


def run_and_show(run: Callable[..., Report], request: Request, *, verbose: int, quiet: bool, as_json: bool) -> None:
    """Run a conversion or a build with its progress on standard error, and its outcome on standard output."""
    with redirect_stdout_to_stderr(verbose), choose_observer(quiet=quiet) as observer:
        report = run(request, observer=observer)
    if as_json:
        echo_json_text(report.to_json())
    elif not quiet:
        from adaptrt.rendering.terminal import print_summary, stdout_console

        print_summary(stdout_console(), report, verbose=bool(verbose), image=request.image)
