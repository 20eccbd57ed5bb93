"""``adaptrt doctor``."""

from __future__ import annotations

from typing import Any

import click

from adaptrt.cli.framework import Command, general_options
from adaptrt.cli.output import echo


@click.command("doctor", cls=Command)
@general_options
@click.pass_context
def doctor(ctx: click.Context, /, verbose: int, quiet: bool, as_json: bool) -> None:
    """Check this installation: versions, what is missing for each purpose, and the command that installs it.

    The exit code is 0 unless an installed component is broken.
    """
    from adaptrt.cli.health import examine
    from adaptrt.errors import DependencyError

    health = examine()
    if as_json:
        from adaptrt.cli.output import echo_json

        echo_json(health)
    elif not quiet:
        _show(health, verbose=bool(verbose))
    if health["broken"]:
        if quiet and not as_json:
            echo("\n".join(health["broken"]), err=True)
        ctx.exit(DependencyError.exit_code)


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
