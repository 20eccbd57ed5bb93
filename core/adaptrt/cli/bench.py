"""``adaptrt bench``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adaptrt.cli.framework import Command, FileArgument, general_options, option
from adaptrt.cli.given import command_line
from adaptrt.cli.inside_flags import opening_flags, opening_from_flags, origin_flags, origin_from_flags
from adaptrt.pipeline.bench.request import SOURCE_MODEL

if TYPE_CHECKING:
    from adaptrt.pipeline.bench.records import Benchmark, Peak
    from adaptrt.pipeline.bench.request import BenchRequest

MEASURE, RESULTS = "What to measure", "Results"

EXAMPLES = (
    ("adaptrt bench best.onnx best.fp16.onnx --batch 1,8", "two files side by side"),
    ("adaptrt bench best.engine --cuda-graphs both --threads 1,4 -o bench.html", "an engine, and a page with plots"),
    (
        "adaptrt bench eager best.onnx --adapter yolov5 --source best.pt",
        "the model it was converted from, and the file",
    ),
    ("adaptrt bench old.engine new.engine --max-regression 3%", "for CI: exit code 9 if new is slower by more"),
)


def _sizes(_: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in (text or "").split(",") if word.strip())
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a list of numbers; for example: {parameter.opts[0]} 1,8") from None


def _fraction(_: click.Context, __: click.Parameter, text: str | None) -> float | None:
    """``3%`` or ``3``: percent."""
    if text is None:
        return None
    try:
        percent = float(text.strip().removesuffix("%"))
    except ValueError:
        percent = math.nan
    if not (math.isfinite(percent) and percent >= 0):
        raise click.BadParameter(f"{text!r} is not a percentage of 0 or more; for example: 3%")
    return percent / 100


def _peak(_: click.Context, __: click.Parameter, text: str | None) -> Peak | None:
    if text is None:
        return None
    from adaptrt.pipeline.bench.records import Peak

    try:
        tera, giga = (float(word) for word in text.split(","))
    except ValueError:
        tera = giga = math.nan
    if not (math.isfinite(tera) and math.isfinite(giga) and tera > 0 and giga > 0):
        raise click.BadParameter(f"{text!r} is not TFLOPS,GB/s, two numbers above 0.")
    return Peak(tera * 1e12, giga * 1e9, "--gpu-peak")


@click.command("bench", cls=Command, examples=EXAMPLES)
@click.argument("files", cls=FileArgument, others=SOURCE_MODEL, metavar="FILE...", nargs=-1, required=True)
@option("--batch", "batches", metavar="N,N", callback=_sizes, section=MEASURE, help="Images per call.  [default: 1, or the file's fixed batch]")  # fmt: skip
@option("--threads", metavar="N,N", callback=_sizes, default="1", section=MEASURE, help="How many threads call the model at the same time.  [default: 1]")  # fmt: skip
@option("--cpu-threads", type=click.IntRange(min=1), metavar="N", section=MEASURE, help="CPU threads of one call.  [default: the backend's]")  # fmt: skip
@option("--image", metavar="FILE", section=MEASURE, help="The image of every call; decoding it is not timed.  [default: noise of 1280 x 720 pixels]")  # fmt: skip
@option("--shape", metavar="INPUT=SHAPE", multiple=True, section=MEASURE, help="images=1x3x640x640, for files without a spec, or another size.")  # fmt: skip
@option("--seconds", type=float, default=2.0, metavar="S", section=MEASURE, help="Time for each measurement.  [default: 2]")  # fmt: skip
@option("--turns", type=int, default=20, metavar="N", section=MEASURE, help="Number of rounds; in each, every file is measured.  [default: 20]")  # fmt: skip
@option("--cuda-graphs", type=click.Choice(["on", "off", "both"]), default="on", section=MEASURE, help="Run TensorRT engines with CUDA graphs, without, or both.  [default: on]")  # fmt: skip
@option("--gpu-peak", metavar="TFLOPS,GB/S", callback=_peak, section=MEASURE, help="Peak of the GPU in the precision of the files, for the physical limit.  [default: measured]")  # fmt: skip
@origin_flags
@opening_flags
@option("-o", "--output", metavar="FILE", section=RESULTS, help="Write a page with plots, an .html file.")
@option("--max-regression", metavar="PERCENT", callback=_fraction, section=RESULTS, help="Exit with 9 if a file is slower than the first by more than this: 3%.")  # fmt: skip
@general_options
@click.pass_context
def bench(ctx: click.Context, /, *, verbose: int, quiet: bool, as_json: bool, **flags: Any) -> None:
    """Measure latency and throughput of FILES side by side.

    Files are ONNX files, engines or other built files, or one of the words eager and compile: the model that a file was converted from, as it is
    and with torch.compile. They take turns in one process. The call on decoded images, the file alone (an engine also without copies
    to and from the GPU) and preprocessing are measured separately.
    """
    from adaptrt.cli.output import echo, echo_json_text, redirect_stdout_to_stderr
    from adaptrt.cli.progress import Bars
    from adaptrt.errors import VerificationError
    from adaptrt.pipeline.bench.run import run_bench
    from adaptrt.rendering.benchmarks import benchmark_lines, regression_text

    page = _page_path(flags["output"])
    request = request_from_flags(flags, command_line(ctx))
    with redirect_stdout_to_stderr(verbose), Bars(quiet=quiet or as_json) as bars:
        found: Benchmark = run_bench(request, bars)
    if page is not None:
        from adaptrt.rendering.benchmark_page import render_page
        from adaptrt.rendering.html import write_document

        write_document(page, render_page(found))
    if as_json:
        echo_json_text(found.to_json())
    elif not quiet:
        echo("\n".join([*benchmark_lines(found), *([f"Written: {page}"] if page is not None else [])]))
    limit = request.max_regression
    slower = found.regressions(limit) if limit is not None else []
    if limit is not None and slower:
        raise VerificationError(
            f"Slower than allowed ({100 * limit:g} %): {'; '.join(map(regression_text, slower))}.",
            hint="If the quartiles are far apart or a drift is reported, measure again on an idle machine with more --seconds.",
        )


def _page_path(output: str | None) -> Path | None:
    """Checked before anything is measured."""
    if output is None:
        return None
    from adaptrt.errors import OutputError
    from adaptrt.pipeline.output import require_file

    path = Path(output)
    if path.suffix.lower() not in (".html", ".htm"):
        raise OutputError(f"-o {path}: the page is an .html file.", hint=f"For example: -o {path.stem}.html")
    require_file(path)
    return path


def request_from_flags(flags: dict[str, Any], command: str) -> BenchRequest:
    from dataclasses import replace

    from adaptrt.pipeline.bench.request import BenchRequest
    from adaptrt.pipeline.request_values import shapes_of

    return BenchRequest(
        files=tuple(flags["files"]),
        batches=flags["batches"],
        threads=flags["threads"] or (1,),
        image=Path(flags["image"]) if flags["image"] else None,
        shapes=shapes_of(flags["shape"]),
        seconds=flags["seconds"],
        turns=flags["turns"],
        cuda_graphs=flags["cuda_graphs"],
        origin=origin_from_flags(flags),
        gpu_peak=flags["gpu_peak"],
        options=replace(opening_from_flags(flags), threads=flags["cpu_threads"]),
        plugins_file=Path(flags["plugins_file"]) if flags["plugins_file"] else None,
        max_regression=flags["max_regression"],
        command=command,
    )
