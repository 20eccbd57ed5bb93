"""``adaptrt inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from adaptrt.cli.framework import Command, general_options, option
from adaptrt.cli.output import echo, echo_json_text

if TYPE_CHECKING:
    from adaptrt.specs.descriptions import Description

EXAMPLES = (
    ("adaptrt inspect best.onnx", "spec, inputs, outputs, operators, metadata"),
    ("adaptrt inspect best.onnx --graph | grep Resize", "every node on a line"),
    ("adaptrt inspect best.engine", "what it was built with, profiles, layers by precision, whether it runs here"),
)


@click.command("inspect", cls=Command, examples=EXAMPLES)
@click.argument("file")
@option("--graph", is_flag=True, help="Print the nodes: name, operator, inputs, outputs; of an engine its layers.")
@general_options
def inspect_model(file: str, graph: bool, verbose: int, quiet: bool, as_json: bool) -> None:
    """Show what FILE holds, an ONNX file, a TensorRT engine or what another backend built: its spec, inputs and outputs, operators or layers, metadata.

    Any ONNX file will do. Of an engine the manifest beside it tells most, also where TensorRT is not installed.
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
    """What the backend of a file says of it; a ``ModelError`` says what to do with one that cannot be read."""
    from adaptrt.specs.descriptions import Description
    from adaptrt.store.model_files import require_backend, require_model_file

    require_model_file(path)
    description = Description.of(path, require_backend(path).describe(path))
    if not graph:
        description.nodes = []
    return description
