"""``adaptrt inspect``."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adaptrt.cli.framework import Command, FileArgument, general_options, option
from adaptrt.cli.inside_flags import input_flags, inputs_from_flags, inputs_of, opening_flags, opening_from_flags
from adaptrt.cli.output import echo, echo_json, echo_json_text
from adaptrt.errors import UsageError, did_you_mean, in_shell

if TYPE_CHECKING:
    from adaptrt.pipeline.layers.drawing import Drawing
    from adaptrt.specs.descriptions import Description

EXAMPLES = (
    ("adaptrt inspect best.onnx", "spec, inputs, outputs, operators, metadata"),
    ("adaptrt inspect best.onnx --graph | grep Resize", "one line per node"),
    ("adaptrt inspect best.onnx --graph html", "the graph drawn by module, with its nodes in a table"),
    (
        "adaptrt inspect best.int8.onnx --graph svg --color error --comparison layers.json",
        "where it differs: results of adaptrt compare --json",
    ),
    ("adaptrt inspect best.engine", "build versions, profiles, layers by precision, whether it runs here"),
)
DRAWING = "Drawing"
_TEXT, _FORMS = "text", ("text", "svg", "html")


class _Inspect(Command):
    """``--graph`` alone prints the nodes: its value is optional, and a file name after it is not its value."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        plain = [
            f"--graph={_TEXT}" if one == "--graph" and not {*args[index + 1 : index + 2]} & {*_FORMS} else one
            for index, one in enumerate(args)
        ]
        try:
            return super().parse_args(ctx, plain)
        except click.UsageError as error:
            form = next((after for one, after in itertools.pairwise(args) if one == "--graph"), None)
            if form is None or form in _FORMS or form.startswith("-") or "unexpected extra" not in error.message:
                raise
            # two words are left, so that the one after --graph was meant as its value
            raise click.BadParameter(
                f"{form!r} is not a drawing. {did_you_mean(form, _FORMS[1:])}", ctx, param_hint="'--graph'"
            ) from error


@click.command("inspect", cls=_Inspect, examples=EXAMPLES)
@click.argument("file", cls=FileArgument)
@option("--graph", type=click.Choice(_FORMS), metavar="[svg|html]", help="Print the nodes (name, operator, inputs, outputs), or the layers of an engine. With svg or html, draw the graph.")  # fmt: skip
@option("--color", type=click.Choice(["precision", "time", "error"]), section=DRAWING, help="What the colors show: the precision, the time of each block (FILE is run), or the share of its limit that a block uses.  [default: precision]")  # fmt: skip
@option("--comparison", metavar="FILE", section=DRAWING, help="Results of `adaptrt compare --json`, for --color error.")
@option("--blocks", type=click.IntRange(min=2), default=32, metavar="N", section=DRAWING, help="Approximate number of blocks to draw.  [default: 32]")  # fmt: skip
@option("--onnx", metavar="FILE", section=DRAWING, help="The ONNX file that an engine was built from.  [default: as recorded beside it]")  # fmt: skip
@option("-o", "--output", metavar="PATH", section=DRAWING, help="The file to write.  [default: FILE.graph.svg or .html]")  # fmt: skip
@input_flags
@opening_flags
@general_options
def inspect_model(*, file: str, graph: str | None, verbose: int, quiet: bool, as_json: bool, **flags: Any) -> None:
    """Show the contents of FILE (an ONNX file, a TensorRT engine or a file of another backend): spec, inputs and outputs, operators or layers, metadata.

    Works with any ONNX file. For an engine, most information comes from the manifest next to it, so TensorRT is not required.
    """
    if graph in ("svg", "html"):
        return draw(Path(file), graph, flags, quiet=quiet, as_json=as_json)
    given = next((name for name in ("color", "comparison", "output") if flags[name]), None)
    if given is not None:
        raise UsageError(f"--{given} is for drawings.", hint="Add --graph svg or --graph html.")
    description = describe(Path(file), graph=graph is not None)
    if as_json:
        echo_json_text(description.to_json())
    elif graph is not None:
        from adaptrt.rendering.descriptions import node_lines

        for line in node_lines(description.nodes):
            echo(line)
    elif not quiet:
        from adaptrt.rendering.descriptions import print_description
        from adaptrt.rendering.terminal import stdout_console

        print_description(stdout_console(), description, every=bool(verbose))
    return None


def draw(file: Path, form: str, flags: dict[str, Any], *, quiet: bool, as_json: bool) -> None:
    """Write the drawing beside the file, or where ``-o`` says."""
    from adaptrt.cli.output import redirect_stdout_to_stderr
    from adaptrt.pipeline.layers.drawing import DrawingRequest, draw_graph
    from adaptrt.pipeline.output import require_file, require_no_input
    from adaptrt.rendering.drawing import write_drawing
    from adaptrt.rendering.formatting import display_path

    output = Path(flags["output"]) if flags["output"] else file.with_name(f"{file.name}.graph.{form}")
    require_file(output)
    require_no_input(output, inputs_of(flags, file, flags["comparison"]))
    request = DrawingRequest(
        file=file,
        color=flags["color"] or ("error" if flags["comparison"] else "precision"),
        most=flags["blocks"],
        comparison=Path(flags["comparison"]) if flags["comparison"] else None,
        inputs=inputs_from_flags(flags),
        onnx=Path(flags["onnx"]) if flags["onnx"] else None,
        options=opening_from_flags(flags),
    )
    with redirect_stdout_to_stderr(0):
        drawing = draw_graph(request)
    written = write_drawing(drawing, output, form)
    if as_json:
        return echo_json({"written": str(written), "blocks": _rows(drawing), "notes": drawing.notes})
    if not quiet:
        for note in drawing.notes:
            echo(f"Note: {note}.")
        echo(f"Written: {display_path(written)}")
        if shutil.which("netron") and file.suffix.lower() == ".onnx":
            echo(f"Every node, in a browser: netron {in_shell(file)}")
    return None


def _rows(drawing: Drawing) -> list[dict[str, Any]]:
    return [
        {
            "title": block.title,
            "kind": block.kind,
            "nodes": [node.name for node in block.nodes],
            "precisions": block.precisions,
            **({"seconds": block.seconds} if drawing.color == "time" else {}),
            **({"used": block.worst.used, "worst": block.worst.name} if block.worst is not None else {}),
            "reads": [drawing.blocks[source].title for source, target in drawing.edges if target == index],
        }
        for index, block in enumerate(drawing.blocks)
    ]


def describe(path: Path, *, graph: bool = False) -> Description:
    """The backend's description of a file; a ``ModelError`` says what to do with a file that cannot be read."""
    from adaptrt.specs.backend_calls import describe_file
    from adaptrt.store.model_files import require_backend, require_model_file

    require_model_file(path)
    description = describe_file(require_backend(path), path)
    if not graph:
        description.nodes = []
    return description
