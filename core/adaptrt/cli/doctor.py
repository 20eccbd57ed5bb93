"""``adaptrt doctor``."""

from __future__ import annotations

from typing import Any

import click

from adaptrt.cli.framework import Command, FileArgument, general_options, option
from adaptrt.cli.output import echo

EXAMPLES = (
    ("adaptrt doctor", "what is ready, and what to install for the rest"),
    ("adaptrt doctor best.onnx", "TensorRT's known issues with the operators of this file"),
    ("adaptrt doctor --report report.md", "what a bug report needs, without secrets and paths"),
)


@click.command("doctor", cls=Command, examples=EXAMPLES)
@option("--report", metavar="FILE", help="Also write the environment part of a bug report to FILE, in Markdown.")
@general_options
@click.argument("model", cls=FileArgument, holds="graph", metavar="[FILE.onnx]", required=False)
@click.pass_context
def doctor(
    ctx: click.Context, /, model: str | None, report: str | None, verbose: int, quiet: bool, as_json: bool
) -> None:
    """Check this installation: versions, what is missing for each purpose, and the command that installs it.

    With an ONNX file, also name TensorRT's known issues with its operators: those of the installed version, or of every
    version if none is installed. The exit code is 0 unless an installed component is broken.
    """
    from adaptrt.cli.health import examine
    from adaptrt.errors import DependencyError

    if report is not None:
        from pathlib import Path

        from adaptrt.pipeline.output import require_file

        require_file(Path(report), "--report")
    health = examine()
    if model is not None:
        health["known_issues"] = _issues_of(model)
    if report is not None:
        from adaptrt.cli.bug_report import write_bug_report

        write_bug_report(report, health)
    if as_json:
        from adaptrt.cli.output import echo_json

        echo_json(health)
    elif not quiet:
        _show(health, verbose=bool(verbose))
    if report is not None and not quiet and not as_json:
        echo(f"\nWrote {report}: read it before you attach it to an issue.")
    if health["broken"]:
        if quiet and not as_json:
            echo("\n".join(health["broken"]), err=True)
        ctx.exit(DependencyError.exit_code)


def _issues_of(model: str) -> list[dict[str, Any]]:
    """The known issues that a file matches, for each backend that the list is about: of its default target."""
    from pathlib import Path

    from adaptrt.errors import DependencyError

    try:
        from adaptrt.graph.known_issues import Platform, matching_issues
        from adaptrt.graph.model_file import read_model
    except ImportError as error:
        raise DependencyError(
            f"Reading a graph requires a package that is not installed: {error}.",
            hint="Install it: pip install 'adaptrt[export]'",
        ) from error
    from adaptrt.specs.backend_parts import KnowsIssues
    from adaptrt.specs.backends import BACKENDS

    graph = read_model(Path(model))
    platforms = [
        Platform(**backend.issue_platform(next(iter(backend.targets.values()))))
        for backend in BACKENDS.all()
        if isinstance(backend, KnowsIssues) and backend.targets
    ]
    return [
        {
            "name": issue.name, "nodes": nodes, "symptom": issue.symptom, "product": issue.product,
            "versions": issue.tensorrt, "fixed": issue.fixed, "precision": list(issue.precision),
            "capability": list(issue.capability), "advice": issue.advice, "source": issue.source, "text": issue.text,
        }
        for platform in platforms
        for issue, nodes in matching_issues(graph, platform)
    ]  # fmt: skip


def _show(health: dict[str, Any], *, verbose: bool) -> None:
    versions = health["versions"]
    width = max(map(len, versions))
    for name, version in versions.items():
        if version or verbose:
            echo(f"{name:<{width}}  {version or '-'}")
    for gpu in health["gpus"]:
        echo(f"{'GPU':<{width}}  {gpu['name']}, driver {gpu['driver']}, {gpu['memory']}, sm {gpu['compute']}")
    if not health["gpus"]:
        echo(f"{'GPU':<{width}}  none ({health['no_gpu']})")
    echo()
    for purpose in health["purposes"]:
        ready = not purpose["missing"]
        state = click.style("ready", fg="green") if ready else click.style("not ready", fg="yellow")
        echo(f"{click.style(purpose['name'], bold=True)}: {state}", styled=True)
        for problem in purpose["missing"]:
            echo(f"  {problem}")
        if purpose["install"]:
            echo(f"  {click.style(purpose['install'], bold=True)}", styled=True)
    for problem in health["broken"]:
        echo(f"{click.style('Broken: ', fg='red', bold=True)}{problem}", styled=True)
    for note in health["notes"]:
        echo(f"{click.style('Note: ', fg='yellow')}{note}", styled=True)
    for issue in health.get("known_issues", []):
        where = ", ".join(filter(None, [*issue["precision"], *(f"sm {one}" for one in issue["capability"])]))
        echo()
        echo(f"{click.style('Known issue ' + issue['name'], fg='yellow')}: {issue['nodes'][0]}", styled=True)
        echo(f"  {issue['text']}{f' ({where})' if where else ''}")
        echo(f"  {issue['advice']}")
        echo(f"  {issue['source']}")
    if health.get("known_issues") == []:
        echo()
        echo("No known issue matches the operators of this file.")
