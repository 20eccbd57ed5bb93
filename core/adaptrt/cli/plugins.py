"""``adaptrt plugins``."""

from __future__ import annotations

from pathlib import Path

import click

from adaptrt.cli.framework import Command, general_options, option
from adaptrt.cli.output import echo

EXAMPLES = (("adaptrt plugins --adapter yolov5", "all plugins active in a conversion with yolov5"),)


@click.command("plugins", cls=Command, examples=EXAMPLES)
@option("--adapter", "-a", metavar="NAME", help="Include this adapter.")
@option("--plugins", "plugins_file", metavar="FILE", help="A plugins.toml; its modules are loaded.")
@general_options
def plugins(adapter: str | None, plugins_file: str | None, verbose: int, quiet: bool, as_json: bool) -> None:
    """List the active plugins in registration order, with the hooks of each.

    Hooks are called in the reverse order. Installed extensions that were skipped follow, with the reason.
    """
    from adaptrt.cli.plan import hook_lines
    from adaptrt.pipeline.sessions import open_session

    session, _ = open_session(adapter, Path(plugins_file) if plugins_file else None)
    hooks = session.implementations()
    rows = [
        {
            "name": name,
            "source": source,
            "hooks": [hook for hook, who in hooks.items() if name in who],
            "status": "active",
        }
        for name, source in session.sources.items()
    ]
    rows += [
        {"name": one.name, "source": one.source, "hooks": [], "status": f"skipped: {one.reason}"}
        for one in session.skipped
    ]
    if as_json:
        from adaptrt.cli.output import echo_json

        echo_json({"plugins": rows, "warnings": session.warnings})
        return
    for row in rows if not quiet else []:
        status = "" if row["hooks"] else f"  {row['status']}"
        echo(f"{click.style(str(row['name']), bold=True)}  {row['source']}{status}", styled=True)
        if row["hooks"]:
            echo(f"    {', '.join(row['hooks'])}")
    if verbose:
        echo("\nhooks, in the order they are called")
        for line in hook_lines(hooks, session.wrappers()):
            echo(f"  {line}")
    for warning in session.warnings:
        echo(f"Warning: {warning}", err=True)
