"""``adaptrt inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from adaptrt.cli.framework import Command, complete_files, general_options, option
from adaptrt.cli.output import echo, echo_json_text

if TYPE_CHECKING:
    from adaptrt.specs.descriptions import Description

EXAMPLES = (
    ("adaptrt inspect best.onnx", "spec, inputs, outputs, operators, metadata"),
    ("adaptrt inspect best.onnx --graph | grep Resize", "one line per node"),
    ("adaptrt inspect best.engine", "build versions, profiles, layers by precision, whether it runs here"),
)


@click.command("inspect", cls=Command, examples=EXAMPLES)
@click.argument("file", shell_complete=complete_files)
@option("--graph", is_flag=True, help="Print the nodes (name, operator, inputs, outputs), or the layers of an engine.")
@general_options
def inspect_model(file: str, graph: bool, verbose: int, quiet: bool, as_json: bool) -> None:
    """Show the contents of FILE (an ONNX file, a TensorRT engine or a file of another backend): spec, inputs and outputs, operators or layers, metadata.

    Works with any ONNX file. For an engine, most information comes from the manifest next to it, so TensorRT is not required.
    """
    description = describe(Path(file), graph=graph)
    if as_json:
        echo_json_text(description.to_json())
    elif graph:
        from adaptrt.cli.inspection.show import node_lines

        for line in node_lines(description.nodes):
            echo(line)
    elif not quiet:
        from adaptrt.cli.inspection.show import print_description
        from adaptrt.rendering.terminal import stdout_console

        print_description(stdout_console(), description, every=bool(verbose))


def describe(path: Path, *, graph: bool = False) -> Description:
    """The backend's description of a file; a ``ModelError`` says what to do with a file that cannot be read."""
    from adaptrt.store.model_files import require_backend, require_model_file

    require_model_file(path)
    description = require_backend(path).describe(path)
    if not graph:
        description.nodes = []
    return description
