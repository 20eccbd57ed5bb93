"""``adaptrt lint``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from adaptrt.cli.framework import Command, FileArgument, general_options, option

if TYPE_CHECKING:
    from adaptrt.report import Finding
    from adaptrt.specs.targets import Target

EXAMPLES = (
    ("adaptrt lint best.onnx", "problems for TensorRT, with the line of Python code behind each"),
    ("adaptrt lint model.onnx --target 8 --fail-on warning", "for TensorRT 8.6; exit code 7 on a warning, for CI"),
    ("adaptrt lint model.onnx --target rtx", "what TensorRT-RTX rejects or cannot run"),
)
_LEVELS = ("error", "warning", "info")


@click.command("lint", cls=Command, examples=EXAMPLES)
@click.argument("file", cls=FileArgument, holds="graph")
@option(
    "--target",
    metavar="NAME",
    help="TensorRT 8, 10 or 11, or another backend's target.  [default: the installed TensorRT, else the newest]",
)
@option("--fail-on", type=click.Choice([*_LEVELS, "never"]), default="error", help="Lowest severity that sets exit code 7.  [default: error]")  # fmt: skip
@general_options
@click.pass_context
def lint(
    ctx: click.Context, /, file: str, target: str | None, fail_on: str, verbose: int, quiet: bool, as_json: bool
) -> None:
    """Check the graph in FILE against the rules for TensorRT.

    Each finding has the number of nodes, the operator, the line of the model's Python code (in files written by adaptrt or
    torch), and what to write instead. Notes (info) are shown with -v.
    """
    from adaptrt.backends.choice import default_target
    from adaptrt.errors import GraphError
    from adaptrt.specs.backends import target_named

    chosen = target_named(target) if target else default_target()
    findings = lint_file(Path(file), chosen)
    if as_json:
        import dataclasses

        from adaptrt.cli.output import echo_json

        echo_json({"file": file, "target": chosen.name, "findings": [dataclasses.asdict(one) for one in findings]})
    elif not quiet:
        from adaptrt.rendering.findings import print_findings
        from adaptrt.rendering.terminal import stdout_console

        shown = findings if verbose else [finding for finding in findings if finding.severity != "info"]
        print_findings(stdout_console(), shown, hidden=len(findings) - len(shown))
    counted = _LEVELS[: _LEVELS.index(fail_on) + 1] if fail_on != "never" else ()
    if any(finding.severity in counted for finding in findings):
        ctx.exit(GraphError.exit_code)


def lint_file(path: Path, target: Target) -> list[Finding]:
    """The graph-check findings for any ONNX file; its spec, if any, says which axes were requested as dynamic."""
    from adaptrt.errors import DependencyError, GraphError
    from adaptrt.specs import METADATA_KEY, ModelSpec
    from adaptrt.store.model_files import require_model_file

    require_model_file(path)
    try:
        from adaptrt.graph.lint import check_graph
        from adaptrt.graph.model_file import read_model
    except ImportError as error:
        raise DependencyError(
            f"Reading graphs requires onnx and onnx_ir: {error}.", hint="Install them: pip install 'adaptrt[export]'"
        ) from error
    model = read_model(path)
    if not model.graph.outputs:
        raise GraphError(f"{path.name} contains no ONNX graph.", hint="Check that the file is complete.")
    text = model.metadata_props.get(METADATA_KEY)
    spec = ModelSpec.from_json(text) if text else None
    try:
        return check_graph(model, spec, target)
    except Exception as error:  # any file can be passed, and a malformed attribute can make any rule fail
        raise GraphError(
            f"{path.name} cannot be checked: {type(error).__name__}: {error}.",
            hint="Check the file with onnx.checker. Use --debug to show the full traceback.",
        ) from error
