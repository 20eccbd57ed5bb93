"""``adaptrt new-adapter``."""

from __future__ import annotations

import re
from pathlib import Path

import click

from adaptrt.cli.framework import Command, general_options, option
from adaptrt.cli.output import echo

EXAMPLES = (
    ("adaptrt new-adapter mynet", "a package in adaptrt-mynet/ that works at once"),
    ("adaptrt new-adapter mynet -o plugins/mynet", "somewhere else"),
)

# what each template becomes, below the new folder
_FILES = {
    "pyproject.toml.j2": "pyproject.toml",
    "README.md.j2": "README.md",
    "package_init.py.j2": "{package}/__init__.py",
    "network.py.j2": "{package}/network.py",
    "test_contract.py.j2": "tests/test_contract.py",
}


@click.command("new-adapter", cls=Command, examples=EXAMPLES)
@click.argument("name")
@option("-o", "--output", metavar="FOLDER", help="Folder to write.  [default: adaptrt-NAME]")
@general_options
def new_adapter(name: str, output: str | None, verbose: int, quiet: bool, as_json: bool) -> None:  # noqa: ARG001
    """Write a small, complete adapter NAME: a package with an entry point, a test of the contract and a README.

    It converts a demonstration network from the start; replace that by your framework.
    """
    folder = Path(output) if output is not None else Path(f"adaptrt-{name}")
    files = write_adapter(name, folder)
    commands = [f"pip install -e {folder}", f"adaptrt convert --adapter {name} demo", f"pytest {folder}"]
    if as_json:
        from adaptrt.cli.output import echo_json

        echo_json({"files": [str(path) for path in files], "next": commands})
    elif not quiet:
        for path in files:
            echo(path)
        echo(click.style("\nNext", bold=True), styled=True)
        for command in commands:
            echo(f"  {command}")


def write_adapter(name: str, folder: Path) -> list[Path]:
    """The files of a new adapter, written into a folder that is new or empty."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from adaptrt import __version__
    from adaptrt.errors import OutputError, UsageError

    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        close = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-0123456789") or "mynet"
        raise UsageError(f"{name!r} is no name for an adapter.", hint=f"Lower case, digits and dashes: {close}")
    taken = _taken(name)
    if taken is not None:
        raise UsageError(f"The adapter {name!r} exists already, in {taken}.", hint=f"Choose another: {name}-2")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} exists already.", hint="Name another place with -o; nothing was written.")
    package = f"adaptrt_{name.replace('-', '_')}"
    title = "".join(part.capitalize() for part in name.split("-"))
    environment = Environment(
        loader=PackageLoader("adaptrt.cli", "templates/adapter"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # Python and TOML, no HTML
    )
    files = []
    try:
        for template, place in _FILES.items():
            path = folder / place.format(package=package)
            path.parent.mkdir(parents=True, exist_ok=True)
            text = environment.get_template(template).render(
                name=name, package=package, title=title, version=__version__
            )
            path.write_text(text, encoding="utf-8")
            files.append(path)
        typed = folder / package / "py.typed"
        typed.touch()
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be written: {error.strerror}.", hint="Name another place with -o."
        ) from error
    return [*files, typed]


def _taken(name: str) -> str | None:
    """The distribution that has an adapter of this name: installed, or in the catalog."""
    from adaptrt.plugins.catalog import read_catalog
    from adaptrt.plugins.discovery import ADAPTERS, find_candidates

    for candidate in find_candidates(ADAPTERS):
        if candidate.name == name:
            return candidate.distribution
    known = read_catalog().get(name)
    return known.distribution if known is not None else None
