"""``adaptrt clean``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from adaptrt.cli.framework import Command, FileArgument, general_options, option
from adaptrt.cli.inside_flags import input_flags, inputs_from_flags
from adaptrt.cli.output import echo, echo_json

EXAMPLES = (
    ("adaptrt clean any.onnx -o clean.onnx", "fewer nodes, the same results"),
    (
        "adaptrt clean any.onnx -o clean.onnx --shape images=1..8x3x640x640 --target 8",
        "a dynamic batch; opset 17 for TensorRT 8",
    ),
)


@click.command("clean", cls=Command, examples=EXAMPLES)
@click.argument("file", cls=FileArgument, holds="graph")
@option("-o", "--output", metavar="FILE", required=True, help="The ONNX file to write.")
@option("--simplify/--no-simplify", default=True, help="Also simplify the graph with onnxsim.  [default: yes]")
@option("--target", metavar="NAME", help="Lower the opset if this TensorRT generation needs it: 8, 10 or 11.")
@option("--ort-custom-ops", metavar="LIB", multiple=True, help="Library of custom operators for ONNX Runtime.")
@input_flags
@general_options
def clean(*, file: str, verbose: int, quiet: bool, as_json: bool, **flags: Any) -> None:
    """Run the graph passes of convert on any ONNX FILE, and check the result.

    Constants are folded, duplicate and unused nodes are removed, negative Gather indices become positive, and nodes are named after their modules.
    FILE and the result run in ONNX Runtime on the same inputs; nothing is written unless the outputs agree.
    """
    from adaptrt.cli.output import redirect_stdout_to_stderr
    from adaptrt.pipeline.clean import CleanRequest
    from adaptrt.pipeline.clean import clean as run
    from adaptrt.rendering.formatting import display_path, limit_text, value_text
    from adaptrt.rendering.tables import aligned_rows

    request = CleanRequest(
        source=Path(file),
        output=Path(flags["output"]),
        simplify=flags["simplify"],
        target=flags["target"],
        inputs=dataclasses.replace(inputs_from_flags(flags), samples=max(flags["samples"], 3)),
        custom_ops=tuple(map(Path, flags["ort_custom_ops"])),
    )
    with redirect_stdout_to_stderr(verbose):
        found = run(request)
    if as_json:
        return echo_json(dataclasses.asdict(found))
    if quiet:
        return None
    rows = [[one.name, one.reason, one.note, str(one.nodes_before), str(one.nodes_after)] for one in found.passes]
    echo("\n".join(aligned_rows([["pass", "reason", "", "nodes", "after"], *rows], left=3)))
    before, after = found.nodes
    echo(f"\n{display_path(found.output)}: {after} nodes instead of {before}")
    for check in found.checks:
        echo(f"  {check.title}: differs by {value_text(check)} at most ({limit_text(check)})")
    return echo(f"Checked in ONNX Runtime: {found.samples}")
