"""``adaptrt quantize``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from adaptrt.cli.adopt import adoption_flags, adoption_of
from adaptrt.cli.engine_flags import (
    calibration_flags,
    calibration_from_flags,
    data_from_flags,
    not_verified,
    precisions_from_flags,
)
from adaptrt.cli.framework import Command, FileArgument, general_options, option
from adaptrt.cli.given import command_line
from adaptrt.cli.shared_flags import custom_ops_flag, plugins_flag

FILES, PROOF = "Files", "Verification"

EXAMPLES = (
    (
        "adaptrt quantize best.onnx --calib images/ -o best.int8.onnx",
        "calibrated on 256 of the images, checked on others",
    ),
    (
        "adaptrt quantize any.onnx --decoder yolo --names names.txt --calib images/",
        "a file that adaptrt did not write",
    ),
    (
        "adaptrt quantize best.onnx --calib train/ --data val/instances.json --max-loss 0.3",
        "no file if mAP falls by more than 0.3 points",
    ),
)


@click.command("quantize", cls=Command, examples=EXAMPLES)
@click.argument("source", cls=FileArgument, holds="graph")
@option("-o", "--output", metavar="PATH", section=FILES, help="File or folder to write.  [default: FILE's name with .int8.onnx]")  # fmt: skip
@option("--shape", metavar="INPUT=SHAPE", multiple=True, section=FILES, help="images=1..16@8x3x640x640 (min..max@opt), for files without a spec.")  # fmt: skip
@option("--target", metavar="NAME", section=FILES, help="TensorRT 8, 10 or 11, or another backend's target.  [default: the installed TensorRT, else the newest]")  # fmt: skip
@option("--keep-fp32", metavar="REGEX", multiple=True, section=FILES, help="Layers (by name) or operators to leave in float.")  # fmt: skip
@option(
    "--recipe",
    metavar="FILE",
    section=FILES,
    help="A recipe written by adaptrt tune: what stays in a higher precision.",
)
@custom_ops_flag(FILES)
@plugins_flag(FILES)
@adoption_flags
@calibration_flags
@option("--verify", type=click.Choice(["full", "quick", "none"]), default="full", section=PROOF, overrules=not_verified, help="How thoroughly to compare with FILE.  [default: full]")  # fmt: skip
@option("--require", type=click.Choice(["verified"]), section=PROOF, help="Exit with 9, and write nothing, unless the file is verified.")  # fmt: skip
@general_options
@click.pass_context
def quantize(ctx: click.Context, /, *, verbose: int, quiet: bool, as_json: bool, **flags: Any) -> None:
    """Write the float32 ONNX FILE as an int8 graph with QuantizeLinear and DequantizeLinear nodes.

    Ranges are measured on --calib images through the preprocessing in FILE. The result is compared with FILE by its
    predictions on other images, with --data by the task's score. To build an engine: adaptrt build best.int8.onnx --int8
    """

    from adaptrt.api import run_build
    from adaptrt.cli.run_and_show import run_and_show
    from adaptrt.errors import UsageError
    from adaptrt.pipeline.request_values import shapes_of
    from adaptrt.request import BuildRequest

    calibration = calibration_from_flags(flags)
    if calibration is None:
        raise UsageError(
            "quantize needs images to measure ranges on.",
            hint="Specify a few hundred images like those in production: --calib images/",
        )
    request = BuildRequest(
        source=flags["source"],
        output=Path(flags["output"]) if flags["output"] is not None else None,
        shapes=shapes_of(flags["shape"]),
        adoption=adoption_of(flags["decoder"], flags["imgsz"], flags["names"]),
        target=flags["target"],
        to=("onnx",),
        **precisions_from_flags({**flags, "precision": "int8"}),
        calibration=calibration,
        data=data_from_flags(flags),
        verify=flags["verify"],
        require=flags["require"] or "",
        ort_custom_ops=tuple(map(Path, flags["ort_custom_ops"])),
        plugins_file=Path(flags["plugins_file"]) if flags["plugins_file"] is not None else None,
        command=command_line(ctx),
        verbose=verbose,
    )
    run_and_show(run_build, request, verbose=verbose, quiet=quiet, as_json=as_json)
