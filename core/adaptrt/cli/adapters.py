"""``adaptrt adapters``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from adaptrt.cli.framework import Command, general_options, option
from adaptrt.cli.output import echo

if TYPE_CHECKING:
    from adaptrt.plugins.discovery import Candidate

EXAMPLES = (
    ("adaptrt adapters", "list installed adapters"),
    ("adaptrt adapters --all", "also list available adapters and how to install them"),
    ("adaptrt adapters --check", "import each one in a separate process"),
)


@click.command("adapters", cls=Command, examples=EXAMPLES)
@option("--all", "everything", is_flag=True, help="Also list the adapters that can be installed.")
@option("--check", is_flag=True, help="Import each adapter in a separate process.")
@general_options
@click.pass_context
def adapters(ctx: click.Context, /, everything: bool, check: bool, verbose: int, quiet: bool, as_json: bool) -> None:
    """List the adapters: which ones can convert models, and what is missing for the others."""
    from adaptrt.errors import PluginError
    from adaptrt.specs.registry import unread_groups

    rows = installed_adapters(check=check)
    missing = _not_installed(rows) if everything else []
    if as_json:
        from adaptrt.cli.output import echo_json

        echo_json({"installed": rows, "available": missing} if everything else {"installed": rows})
    elif not quiet:
        _show(rows, missing, hint_at_catalog=not everything, verbose=bool(verbose))
    for warning in unread_groups():
        echo(f"Warning: {warning}", err=True)
    if check and any(row["problems"] for row in rows):
        ctx.exit(PluginError.exit_code)


def installed_adapters(*, check: bool = False) -> list[dict[str, Any]]:
    """A row for each entry point; ``problems`` lists what prevents one from running. Nothing is imported into this process."""
    from adaptrt.plugins.discovery import ADAPTERS, find_candidates
    from adaptrt.specs.installed import install_target

    found = find_candidates(ADAPTERS)
    rows = []
    for candidate in found:
        others = [other.source for other in found if other.name == candidate.name and other is not candidate]
        problems = candidate.problems()
        if others:
            problems.append(f"{candidate.name} is also claimed by {' and '.join(others)}: uninstall one of them")
        if check and not problems:
            problem = import_problem(candidate)
            problems += [problem] if problem else []
        rows.append(
            {
                "name": candidate.name,
                "distribution": candidate.distribution,
                "version": candidate.version,
                "module": candidate.module,
                "summary": candidate.summary,
                "license": _license_of(candidate),
                "frameworks": _frameworks(candidate),
                "problems": problems,
                "install": f"pip install --upgrade {install_target(candidate.distribution)}"
                if problems and not others
                else None,
            }
        )
    return rows


def _license_of(candidate: Candidate) -> str | None:
    """As the distribution's metadata states it."""
    from importlib import metadata

    try:
        found = metadata.metadata(candidate.distribution)
    except metadata.PackageNotFoundError:
        return None
    return next((found[name] for name in ("License-Expression", "License") if name in found), None)


def _frameworks(candidate: Candidate) -> list[dict[str, str | None]]:
    """What the distribution requires besides adaptrt, with the installed versions."""
    from packaging.requirements import InvalidRequirement, Requirement

    from adaptrt.plugins.discovery import installed_version

    frameworks: list[dict[str, str | None]] = []
    for text in candidate.requires:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if applies and requirement.name != "adaptrt":
            wanted = text.partition(";")[0].strip()
            frameworks.append({"requires": wanted, "installed": installed_version(requirement.name)})
    return frameworks


def import_problem(candidate: Candidate) -> str | None:
    """Why an adapter cannot be imported and registered, tested in a separate process; ``None`` if it can."""
    import signal
    import subprocess

    from adaptrt.cli.check_adapter import DONE
    from adaptrt.python_process import module_command

    command = [*module_command("adaptrt.cli.check_adapter"), candidate.name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        return "importing it timed out after 120 s"
    if done.returncode == 0 and done.stdout.endswith(DONE):
        return None
    if done.returncode < 0:
        return f"importing it crashes Python ({signal.Signals(-done.returncode).name})"
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"importing it exits with code {done.returncode}"


def _not_installed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    from dataclasses import asdict

    from adaptrt.plugins.catalog import read_catalog
    from adaptrt.specs.installed import install_target

    known = {row["name"] for row in rows}
    return [
        {
            "name": name,
            **asdict(entry),
            "examples": list(entry.examples),
            "install": f"pip install {install_target(entry.distribution)}",
        }
        for name, entry in read_catalog().items()
        if name not in known
    ]


def _show(rows: list[dict[str, Any]], missing: list[dict[str, Any]], *, hint_at_catalog: bool, verbose: bool) -> None:
    """By distribution: what it requires and what is installed, then its adapters."""
    if not rows:
        echo("No adapter is installed.")
    width = max((len(row["name"]) for row in [*rows, *missing]), default=0)
    for source in dict.fromkeys((row["distribution"], row["version"]) for row in rows):
        own = [row for row in rows if (row["distribution"], row["version"]) == source]
        title = click.style(" ".join(source), bold=True)
        echo("  ".join(filter(None, [title, own[0]["license"], own[0]["summary"]])), styled=True)
        for framework in own[0]["frameworks"]:
            here = f"{framework['installed']} installed" if framework["installed"] else "not installed"
            echo(f"  for {framework['requires']} ({here})")
        for row in own:
            state = click.style("broken", fg="red") if row["problems"] else click.style("ok", fg="green")
            echo(f"    {row['name']:<{width}}  {state}{'  ' + row['module'] if verbose else ''}", styled=True)
            for problem in row["problems"]:
                echo(f"    {'':{width}}  {problem}")
            if row["install"]:
                echo(f"    {'':{width}}  {row['install']}")
        echo()
    if missing:
        echo(click.style("Not installed", bold=True), styled=True)
    for row in missing:
        echo(f"    {row['name']:<{width}}  {row['summary']}")
        echo(f"    {'':{width}}  for {row['framework']}, {row['license']}: {row['install']}")
    if hint_at_catalog:
        echo("To list all available adapters: adaptrt adapters --all")
