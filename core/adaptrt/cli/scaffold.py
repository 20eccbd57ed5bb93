"""Writes packages from templates: ``adaptrt new-adapter``, ``new-extension`` and ``new-backend``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from adaptrt.cli.output import echo

# in every kind of package: template to path in the new folder
_COMMON = {
    "pyproject.toml.j2": "pyproject.toml",
    "README.md.j2": "README.md",
    "package_init.py.j2": "{package}/__init__.py",
    "test_contract.py.j2": "tests/test_contract.py",
}


def write_package(kind: str, name: str, folder: Path, more: Mapping[str, str], **context: Any) -> list[Path]:
    """Write the files of a new package into a new or empty folder.

    ``kind``: ``adapter``, ``extension`` or ``backend``. ``more``: its own templates, with their paths.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from adaptrt.errors import OutputError, UsageError

    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        close = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-0123456789") or "mynet"
        raise UsageError(f"{name!r} is not a valid {kind} name.", hint=f"Use lower case, digits and dashes: {close}")
    taken = _taken(kind, name)
    if taken is not None:
        raise UsageError(f"The {kind} {name!r} already exists in {taken}.", hint=f"Choose another name: {name}-2")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} already exists.", hint="Choose another folder with -o; nothing was written.")
    package = f"adaptrt_{name.replace('-', '_')}"
    title = "".join(part.capitalize() for part in name.split("-"))
    environment = Environment(
        loader=PackageLoader("adaptrt.cli", f"templates/{kind}"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # Python and TOML, not HTML
    )
    files = []
    try:
        for template, place in {**_COMMON, **more}.items():
            path = folder / place.format(package=package)
            path.parent.mkdir(parents=True, exist_ok=True)
            text = environment.get_template(template).render(
                name=name, package=package, title=title, core=_core_bounds(), **context
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


def show_package(files: list[Path], commands: list[str], *, quiet: bool, as_json: bool) -> None:
    """Print the files that were written, and what to do next."""
    if as_json:
        from adaptrt.cli.output import echo_json

        echo_json({"files": [str(path) for path in files], "next": commands})
    elif not quiet:
        for path in files:
            echo(path)
        echo(click.style("\nNext", bold=True), styled=True)
        for command in commands:
            echo(f"  {command}")


def _core_bounds() -> str:
    """The core versions that a package written now works with: this minor release."""
    from adaptrt import __version__

    major, minor = __version__.split(".")[:2]
    return f">={major}.{minor}.dev0,<{major}.{int(minor) + 1}"


def _taken(kind: str, name: str) -> str | None:
    """The distribution that has a plugin of this kind and name: installed, or in the catalog."""
    from adaptrt.plugins.catalog import read_catalog
    from adaptrt.plugins.discovery import find_candidates

    for candidate in find_candidates(f"adaptrt.{kind}s"):
        if candidate.name == name:
            return candidate.distribution
    known = read_catalog().get(name) if kind == "adapter" else None
    return known.distribution if known is not None else None
