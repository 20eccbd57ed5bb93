"""``adaptrt new-adapter``."""

from __future__ import annotations

import re
from pathlib import Path

import click

from adaptrt.cli.framework import Command, general_options, option
from adaptrt.cli.output import echo

EXAMPLES = (
    ("adaptrt new-adapter mynet", "create a working package in adaptrt-mynet/"),
    ("adaptrt new-adapter mynet -o plugins/mynet", "choose another folder"),
)

# the path that each template is written to, in the new folder
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

    It converts a demo network; replace that with your framework.
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
    """Write the files of a new adapter into a new or empty folder."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from adaptrt import __version__
    from adaptrt.errors import OutputError, UsageError

    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        close = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-0123456789") or "mynet"
        raise UsageError(f"{name!r} is not a valid adapter name.", hint=f"Use lower case, digits and dashes: {close}")
    taken = _taken(name)
    if taken is not None:
        raise UsageError(f"The adapter {name!r} already exists in {taken}.", hint=f"Choose another name: {name}-2")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} already exists.", hint="Choose another folder with -o; nothing was written.")
    package = f"adaptrt_{name.replace('-', '_')}"
    title = "".join(part.capitalize() for part in name.split("-"))
    environment = Environment(
        loader=PackageLoader("adaptrt.cli", "templates/adapter"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # Python and TOML, not HTML
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
            f"{folder} cannot be written: {error.strerror}.", hint="Choose another folder with -o."
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
