"""``adaptrt compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adaptrt.cli.framework import Command, FileArgument, general_options, option
from adaptrt.cli.given import command_line
from adaptrt.cli.inside_flags import (
    input_flags,
    inputs_from_flags,
    inputs_of,
    names_of,
    opening_flags,
    opening_from_flags,
    origin_flags,
    origin_from_flags,
)
from adaptrt.cli.output import echo, echo_json_text
from adaptrt.pipeline.layers.request import EAGER

if TYPE_CHECKING:
    from adaptrt.pipeline.layers.request import CompareRequest

WHAT, RESULTS = "What to compare", "Results"

EXAMPLES = (
    ("adaptrt compare best.onnx best.fp16.onnx", "every tensor inside, on one sample"),
    ("adaptrt compare best.onnx best.fp16.onnx --html layers.html", "a page with a plot over depth"),
    ("adaptrt compare best.onnx best.engine --image street.jpg", "the first tensor that differs, by bisection"),
    (
        "adaptrt compare eager best.onnx --adapter yolov5 --source best.pt",
        "what each module of the model returns, and the graph",
    ),
    (
        "adaptrt compare results.json best.onnx --inputs inputs.json",
        "with results that polygraphy run --save-outputs wrote",
    ),
)


@click.command("compare", cls=Command, examples=EXAMPLES)
@click.argument("files", cls=FileArgument, others=(EAGER, ".json"), metavar="A B [C]...", nargs=-1, required=True)
@option("--outputs", metavar="all|bisect|NAMES", section=WHAT, help="Tensors inside: all of them, a bisection for the first that differs, or names of tensors, nodes or modules.  [default: all; bisect if a file has to be built for it]")  # fmt: skip
@option("--at-once", type=click.IntRange(min=1), default=8, metavar="N", section=WHAT, help="Tensors that each round of a bisection compares.  [default: 8]")  # fmt: skip
@option("--onnx", metavar="FILE", section=WHAT, help="The ONNX file that an engine was built from.  [default: as recorded beside it]")  # fmt: skip
@option("--precision", metavar="NAME", section=WHAT, help="The precision of the files that are compared with A, which sets the limits.  [default: that of each file]")  # fmt: skip
@origin_flags
@input_flags
@opening_flags
@option("--html", metavar="FILE", section=RESULTS, help="Write a page with a plot over depth and every tensor.")
@option("--save-inputs", metavar="FILE", section=RESULTS, help="Write the inputs as JSON for polygraphy run --load-inputs.")  # fmt: skip
@option("--save-results", metavar="FILE", section=RESULTS, help="Write the compared tensors as JSON for polygraphy run --load-outputs.")  # fmt: skip
@general_options
@click.pass_context
def compare(ctx: click.Context, /, *, verbose: int, quiet: bool, as_json: bool, **flags: Any) -> None:
    """Compare the tensors inside several forms of a model with those of A.

    A form is an ONNX file, an engine or another built file, JSON results of Polygraphy, or (as A) the word eager: the model
    that a file was converted from. Tensors are matched even if they were renamed, and compared within the limits of links 2 to
    4. To read tensors inside an engine, it is rebuilt with a few outputs at a time, since TensorRT cannot fuse across an output.

    The exit code is 9 if an output exceeds its limit.
    """
    from adaptrt.cli.output import redirect_stdout_to_stderr
    from adaptrt.errors import VerificationError
    from adaptrt.pipeline.layers.compare import compare as run
    from adaptrt.pipeline.output import require_file, require_no_input
    from adaptrt.rendering.layers import comparison_lines

    page = Path(flags["html"]) if flags["html"] else None
    for flag in ("html", "save_inputs", "save_results"):
        if flags[flag]:
            require_file(Path(flags[flag]), f"--{flag.replace('_', '-')}")
            require_no_input(Path(flags[flag]), inputs_of(flags, *flags["files"]), f"--{flag.replace('_', '-')}")
    request = request_from_flags(flags, command_line(ctx))
    with redirect_stdout_to_stderr(verbose):
        found = run(request)
    if page is not None:
        from adaptrt.rendering.html import write_document
        from adaptrt.rendering.layers_page import render_page

        write_document(page, render_page(found))
    if as_json:
        echo_json_text(found.to_json())
    elif not quiet:
        echo("\n".join(comparison_lines(found, every=bool(verbose))))
        if page is not None:
            echo(f"Written: {page}")
    if not found.outputs_agree:
        ctx.exit(VerificationError.exit_code)


def request_from_flags(flags: dict[str, Any], command: str) -> CompareRequest:
    from adaptrt.pipeline.layers.request import CompareRequest

    return CompareRequest(
        files=tuple(flags["files"]),
        outputs=names_of(flags["outputs"]),
        inputs=inputs_from_flags(flags),
        origin=origin_from_flags(flags),
        onnx=Path(flags["onnx"]) if flags["onnx"] else None,
        precision=flags["precision"],
        at_once=flags["at_once"],
        options=opening_from_flags(flags),
        plugins_file=Path(flags["plugins_file"]) if flags["plugins_file"] else None,
        save_inputs=Path(flags["save_inputs"]) if flags["save_inputs"] else None,
        save_results=Path(flags["save_results"]) if flags["save_results"] else None,
        command=command,
    )
