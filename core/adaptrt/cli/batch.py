"""``adaptrt batch``."""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adaptrt.cli.framework import Command, FileArgument, complete_files, general_options, option
from adaptrt.cli.output import echo
from adaptrt.cli.running_flags import executor_from_flags, running_flags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from adaptrt.batch.run import Progress

MODEL, RESULTS, EXECUTION = "Model", "Results", "Execution"
INTERVAL = 5.0  # seconds between lines of progress

EXAMPLES = (
    ("adaptrt batch best.onnx 'images/**/*.jpg' -o results/", "JSON lines, with a process per CPU"),
    ("adaptrt batch best.onnx 'images/**/*.jpg' -o results/", "repeat the command to resume after an interruption"),
    ("adaptrt batch best.engine list.txt -o results/ --format parquet", "the images of a list, on a GPU, as Parquet"),
    ("adaptrt batch best.onnx 'images/**/*.jpg' -o results/ --retry-failed", "process images with errors again"),
)


@click.command("batch", cls=Command, examples=EXAMPLES)
@click.argument("model", cls=FileArgument)
@click.argument("images", metavar="IMAGES...", nargs=-1, required=True, shell_complete=complete_files)
@running_flags(MODEL)
@option("-o", "--output", metavar="DIR", required=True, section=RESULTS, help="Folder of the job: its manifest and its parts.")  # fmt: skip
@option("--format", "form", type=click.Choice(["jsonl", "parquet"]), default="jsonl", show_default=True, section=RESULTS, help="Format of the parts; Parquet requires pyarrow.")  # fmt: skip
@option("--part-size", type=click.IntRange(min=1), metavar="N", default=1000, show_default=True, section=RESULTS, help="Images in a part.")  # fmt: skip
@option("--retry-failed", is_flag=True, section=RESULTS, help="Also reprocess images whose rows have an error.")
@option("--executor", metavar="NAME", default="processes", show_default=True, section=EXECUTION, help="Where to run the model; see adaptrt predict --help.")  # fmt: skip
@option("--executor-set", "executor_pairs", metavar="KEY=VALUE", multiple=True, section=EXECUTION, help="An option of the executor: workers=4 ...")  # fmt: skip
@option("--gpus", type=click.IntRange(min=1), metavar="N", section=EXECUTION, help="Short for --executor-set gpus=N, with an executor that has this option.")  # fmt: skip
@option("--address", metavar="ADDRESS", section=EXECUTION, help="Short for --executor-set address=ADDRESS: the cluster to run on.")  # fmt: skip
@general_options
@click.pass_context
def batch(
    ctx: click.Context,
    /,
    model: str,
    images: tuple[str, ...],
    output: str,
    form: str,
    part_size: int,
    retry_failed: bool,
    executor_pairs: tuple[str, ...],
    gpus: int | None,
    address: str | None,
    verbose: int,
    quiet: bool,
    as_json: bool,
    **_: Any,
) -> None:
    """Run a converted FILE on any number of IMAGES: files, folders, patterns, .txt lists, s3:// and https:// URLs.

    Results are those of predict, one row for each image, in parts that appear when they are complete. Repeat the command to
    continue an interrupted job. An image that cannot be read becomes a row with an error; the exit code is then 4.
    """
    from adaptrt.batch.run import BatchRequest, run_batch
    from adaptrt.cli.output import echo_json, redirect_stdout_to_stderr
    from adaptrt.errors import ImageError
    from adaptrt.quantities import counted, duration
    from adaptrt.sources.find import remote_and_local_images, warn_of_skipped

    short = [f"{name}={value}" for name, value in (("gpus", gpus), ("address", address)) if value is not None]
    chosen, options = executor_from_flags({**ctx.params, "executor_pairs": (*executor_pairs, *short)})
    request = BatchRequest(
        model=Path(model),
        sources=remote_and_local_images(images),
        output=Path(output),
        executor=chosen,
        options=options,
        form=form,
        part_size=part_size,
        retry_failed=retry_failed,
        progress=_reporter(quiet=quiet),
    )
    warn_of_skipped(images, options.warn, videos=False)
    with redirect_stdout_to_stderr(verbose), _interruptible(output):
        summary = run_batch(request)
    if as_json:
        echo_json({"model": model, "folder": output, **vars(summary)})
    elif not quiet:
        rate = f", {summary.processed / summary.seconds:.1f} images/s" if summary.processed else ""
        echo(
            f"{output}: {counted(summary.rows, 'row')} in {counted(summary.parts, 'part')}; "
            f"{counted(summary.processed, 'image')} processed in {duration(summary.seconds)}{rate}"
        )
    if summary.failed:
        failed = f"{summary.failed} of {counted(summary.rows, 'image')}"
        echo(f"Failed: {failed}. --retry-failed processes them again.", err=True)
        ctx.exit(ImageError.exit_code)


@contextmanager
def _interruptible(output: str) -> Iterator[None]:
    """Say how to continue after Ctrl-C or a signal."""
    try:
        yield
    except Exception:
        raise
    except BaseException:
        echo(f"Completed parts are in {output}. Repeat the command to continue.", err=True)
        raise


def _reporter(*, quiet: bool) -> Callable[[Progress], None]:
    """Prints a line on standard error every few seconds."""
    last = time.monotonic()

    def report(progress: Progress) -> None:
        nonlocal last
        if quiet or time.monotonic() - last < INTERVAL:
            return
        last = time.monotonic()
        left = (progress.total - progress.done) / progress.rate
        echo(
            f"{progress.done} of {progress.total} images, {progress.rate:.1f}/s, {progress.failed} errors, {left:.0f} s left",
            err=True,
        )

    return report
