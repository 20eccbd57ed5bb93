"""``adaptrt run``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from adaptrt.cli.framework import Command, FileArgument, general_options, option
from adaptrt.cli.inside_flags import (
    input_flags,
    inputs_from_flags,
    inputs_of,
    names_of,
    opening_flags,
    opening_from_flags,
)
from adaptrt.cli.output import echo, echo_json

WHAT = "Tensors"

EXAMPLES = (
    (
        "adaptrt run best.onnx --image a.jpg --outputs /model/model.9/cv2/Conv_output_0 -o out.npz",
        "a tensor inside, as an array",
    ),
    ("adaptrt run best.onnx --image a.jpg --outputs model.4,model.6 -o maps/", "what two modules return, drawn"),
)


@click.command("run", cls=Command, examples=EXAMPLES)
@click.argument("file", cls=FileArgument)
@option("--outputs", metavar="NAMES", section=WHAT, help="Names of tensors, nodes or modules, separated by commas.  [default: the outputs of FILE]")  # fmt: skip
@option("-o", "--output", metavar="PATH", section=WHAT, help="An .npz file; or an image file (for one tensor) or a folder, to draw them.  [default: only print their ranges]")  # fmt: skip
@option("--onnx", metavar="FILE", section=WHAT, help="The ONNX file that an engine was built from.  [default: as recorded beside it]")  # fmt: skip
@option("--precision", metavar="NAME", section=WHAT, help="The precision that an engine was built in.  [default: as recorded beside it]")  # fmt: skip
@input_flags
@opening_flags
@general_options
def run(*, file: str, verbose: int, quiet: bool, as_json: bool, **flags: Any) -> None:
    """Run FILE and return any of its tensors, including internal ones.

    Feature maps are drawn as tiles, one for each channel. To read tensors inside an engine, it is rebuilt with these outputs.
    """
    from adaptrt.cli.output import redirect_stdout_to_stderr
    from adaptrt.pipeline.layers.run import RunRequest, save
    from adaptrt.pipeline.layers.run import run as run_file
    from adaptrt.pipeline.output import require_no_input
    from adaptrt.rendering.formatting import display_path
    from adaptrt.rendering.layers import tensor_facts
    from adaptrt.rendering.tables import aligned_rows

    request = RunRequest(
        file=Path(file),
        outputs=names_of(flags["outputs"]),
        inputs=inputs_from_flags(flags),
        onnx=Path(flags["onnx"]) if flags["onnx"] else None,
        precision=flags["precision"],
        options=opening_from_flags(flags),
    )
    inputs = inputs_of(flags, file)
    if flags["output"]:
        require_no_input(Path(flags["output"]), inputs)
    with redirect_stdout_to_stderr(verbose):
        found = run_file(request)
    written = save(found, Path(flags["output"]), inputs) if flags["output"] else []
    facts = tensor_facts(found.arrays)
    if as_json:
        return echo_json(
            {
                "file": file,
                "inputs": found.inputs,
                "tensors": facts,
                "notes": list(found.notes),
                "written": [str(path) for path in written],
            }
        )
    if quiet:
        return None
    head = ["tensor", "shape", "type", "min", "max", "mean", "not finite"]
    rows = [
        [
            one["name"],
            "x".join(map(str, one["shape"])),
            one["dtype"],
            *(f"{one[key]:.4g}" if one[key] is not None else "" for key in ("min", "max", "mean")),
            str(one["not_finite"]),
        ]
        for one in facts
    ]
    echo("\n".join(aligned_rows([head, *rows], left=3)))
    for note in found.notes:
        echo(f"Note: {note}.")
    echo(f"Inputs: {found.inputs}")
    for path in written:
        echo(f"Written: {display_path(path)}")
    return None
