"""``adaptrt tune``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from adaptrt.cli.completion import complete_precisions
from adaptrt.cli.engine_flags import calibration_from_flags, data_from_flags
from adaptrt.cli.framework import Command, FileArgument, general_options, option
from adaptrt.cli.given import command_line
from adaptrt.cli.shared_flags import custom_ops_flag, plugins_flag

SEARCH, CALIBRATION = "Search", "Calibration"

EXAMPLES = (
    (
        "adaptrt tune best.onnx --calib train/ --data val/instances.json --max-loss 0.3",
        "best.recipe.toml, with at most 0.3 points of mAP lost",
    ),
    ("adaptrt tune best.onnx --images images/ --max-loss 2", "without labels: 98 % of the predictions stay the same"),
)


@click.command("tune", cls=Command, examples=EXAMPLES)
@click.argument("source", cls=FileArgument, holds="graph")
@option("-o", "--output", metavar="FILE", section=SEARCH, help="The recipe to write, a .toml file.  [default: beside FILE]")  # fmt: skip
@option("--data", metavar="PATH", section=SEARCH, help="Labeled images to score on, as for adaptrt evaluate.")
@option("--data-images", metavar="DIR", section=SEARCH, help="The folder of their images.  [default: beside the labels]")  # fmt: skip
@option("--data-limit", type=int, metavar="N", section=SEARCH, help="Use at most N of them, spread evenly.")
@option("--images", metavar="DIR", section=SEARCH, help="Images without labels: predictions must stay those of FILE.")
@option("--max-loss", type=float, default=1.0, metavar="POINTS", section=SEARCH, help="Maximum loss of the main score, in points; without labels, the maximum percentage of predictions that differ.  [default: 1]")  # fmt: skip
@option("--precision", metavar="NAME", default="int8", shell_complete=complete_precisions, section=SEARCH, help="The precision to reach, int8 or fp16.  [default: int8]")  # fmt: skip
@option("--blocks", type=int, default=24, metavar="N", section=SEARCH, help="Approximate number of parts of the graph to measure.  [default: 24]")  # fmt: skip
@option("--sensitivity-images", type=int, default=8, metavar="N", section=SEARCH, help="Images on which each part is measured alone.  [default: 8]")  # fmt: skip
@option("--keep-fp32", metavar="REGEX", multiple=True, section=SEARCH, help="Nodes (by name) or operators that stay float32 in any case.")  # fmt: skip
@option("--keep-fp16", metavar="REGEX", multiple=True, section=SEARCH, help="Layers that always stay out of int8.")
@option("--latency/--no-latency", default=True, section=SEARCH, help="Build and time engines, where that is possible.  [default: yes]")  # fmt: skip
@option("--target", metavar="NAME", section=SEARCH, help="TensorRT 8, 10 or 11, or another backend's target.  [default: the installed TensorRT, else the newest]")  # fmt: skip
@custom_ops_flag(SEARCH)
@plugins_flag(SEARCH)
@option("--calib", metavar="PATH", section=CALIBRATION, help="Images to measure ranges on: a folder, a pattern, a .txt list or an .npz file.  [default: a fifth of the images]")  # fmt: skip
@option("--calib-images", type=int, metavar="N", section=CALIBRATION, help="Use at most N images, spread evenly.  [default: 256]")  # fmt: skip
@option("--calib-batch", type=int, metavar="N", section=CALIBRATION, help="Images at a time.  [default: 1]")
@option("--calib-method", metavar="NAME", section=CALIBRATION, help="minmax, entropy or percentile.  [default: minmax]")
@option("--calib-cache", metavar="FILE", section=CALIBRATION, help="Keep the ranges in FILE, and reuse them for the same graph and images.")  # fmt: skip
@general_options
@click.pass_context
def tune(ctx: click.Context, /, *, verbose: int, quiet: bool, as_json: bool, **flags: Any) -> None:
    """Find out which parts of the ONNX FILE have to stay in a higher precision.

    Each part is measured alone in int8 and fp16, in ONNX Runtime; then as few parts as possible are kept in a higher
    precision so that at most --max-loss is lost. The recipe is a TOML file for convert, build and quantize (--recipe).
    """
    from dataclasses import replace

    from adaptrt.api import run_tune
    from adaptrt.cli.output import echo, echo_json_text, redirect_stdout_to_stderr
    from adaptrt.cli.progress import choose_observer
    from adaptrt.pipeline.tuning.request import TuneRequest
    from adaptrt.rendering.tuning import tuning_lines

    recipe = Path(flags["output"]) if flags["output"] is not None else None
    data = data_from_flags({**flags, "max_loss": None})
    request = TuneRequest(
        source=flags["source"],
        output=recipe.parent if recipe is not None else None,
        recipe=recipe,
        target=flags["target"],
        precision=flags["precision"],
        keep_fp32=tuple(flags["keep_fp32"]),
        keep_fp16=tuple(flags["keep_fp16"]),
        calibration=calibration_from_flags(flags),
        data=replace(data, max_loss=100.0) if data is not None else None,
        images=Path(flags["images"]) if flags["images"] is not None else None,
        max_loss=flags["max_loss"],
        blocks=flags["blocks"],
        sensitivity_images=flags["sensitivity_images"],
        latency=flags["latency"],
        ort_custom_ops=tuple(map(Path, flags["ort_custom_ops"])),
        plugins_file=Path(flags["plugins_file"]) if flags["plugins_file"] is not None else None,
        command=command_line(ctx),
        verbose=verbose,
    )
    with redirect_stdout_to_stderr(verbose), choose_observer(quiet=quiet) as observer:
        report = run_tune(request, observer=observer)
    if as_json:
        echo_json_text(report.to_json())
    elif not quiet:
        echo("\n".join(tuning_lines(report)))
