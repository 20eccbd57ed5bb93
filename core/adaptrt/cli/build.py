"""``adaptrt build``."""

from __future__ import annotations

from typing import Any

import click

from adaptrt.cli.adopt import decoder_and_names
from adaptrt.cli.engine_flags import build_flags, calibration_flags, not_verified, precision_flags
from adaptrt.cli.framework import Command, FileArgument, general_options, option
from adaptrt.cli.given import command_line
from adaptrt.cli.shared_flags import custom_ops_flag, plugins_flag

FILES, SHAPES, PROOF = "Files", "Shapes", "Verification"
PRECISION = "Precision"

EXAMPLES = (
    ("adaptrt build best.onnx --precision fp16", "best.engine with its manifest; shapes from the file"),
    (
        "adaptrt build any.onnx --shape images=1..32@8x3x640x640 --precision fp16",
        "any ONNX file, with a dynamic batch from 1 to 32",
    ),
    ("adaptrt build fixed.onnx --set-dynamic-batch --batch 1:8:32", "make a fixed batch dynamic first"),
)


@click.command("build", cls=Command, examples=EXAMPLES)
@click.argument("source", cls=FileArgument, holds="graph")
@option("-o", "--output", metavar="PATH", section=FILES, help="File or folder to write.  [default: beside FILE]")
@option("--shape", metavar="INPUT=SHAPE", multiple=True, section=SHAPES, help="images=1..16@8x3x640x640 (min..max@opt); repeat an input for another profile.")  # fmt: skip
@option("--min-shape", metavar="INPUT:SHAPE", multiple=True, section=SHAPES, help="images:1x3x640x640, as in trtexec.")  # fmt: skip
@option("--opt-shape", metavar="INPUT:SHAPE", multiple=True, section=SHAPES)
@option("--max-shape", metavar="INPUT:SHAPE", multiple=True, section=SHAPES)
@option(
    "--batch", "--batch-size", metavar="N", section=SHAPES, help="4: always 4; 1:16: up to 16; 1:8:16: min:opt:max."
)
@option("--imgsz", "--img-size", metavar="SIZE", section=SHAPES, help="640, or 800x1216 (height x width).")
@option("--set-dynamic-batch", is_flag=True, section=SHAPES, help="Make a fixed batch dynamic, if possible.")
@decoder_and_names
@precision_flags(PRECISION)
@calibration_flags
@build_flags
@option("--verify", type=click.Choice(["full", "quick", "none"]), default="full", section=PROOF, overrules=not_verified, help="How thoroughly to compare with ONNX Runtime.  [default: full]")  # fmt: skip
@option("--diagnose", is_flag=True, section=PROOF, help="If ONNX Runtime or a built file differs, compare the tensors inside and name the first that differs.")  # fmt: skip
@option("--require", type=click.Choice(["verified"]), section=PROOF, help="Exit with 9, and write nothing, unless every file is verified.")  # fmt: skip
@option("--image", metavar="FILE", section=PROOF, help="A real image to compare on.")
@custom_ops_flag(PROOF)
@plugins_flag(FILES)
@general_options
@click.pass_context
def build(ctx: click.Context, /, *, verbose: int, quiet: bool, as_json: bool, **flags: Any) -> None:
    """Build a TensorRT engine from any ONNX FILE, without an adapter.

    The engine's outputs are compared with those of the file in ONNX Runtime. If TensorRT is not installed, --precision
    fp16 and bf16 still write and check the graph in that precision.
    """

    from adaptrt.api import run_build
    from adaptrt.cli.request import build_request_from_flags
    from adaptrt.cli.run_and_show import run_and_show

    request = build_request_from_flags(flags, command=command_line(ctx), verbose=verbose)
    run_and_show(run_build, request, verbose=verbose, quiet=quiet, as_json=as_json)
