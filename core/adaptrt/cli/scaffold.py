"""Writes packages from templates: ``adaptrt new-adapter``, ``new-extension`` and ``new-backend``."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import click

from adaptrt.cli.framework import option
from adaptrt.cli.output import echo

F = TypeVar("F", bound=Callable[..., Any])
_FOLDER = "adaptrt-{name}"

# in every kind of package: template to path in the new folder
_COMMON = {
    "pyproject.toml.j2": "pyproject.toml",
    "README.md.j2": "README.md",
    "package_init.py.j2": "{package}/__init__.py",
    "test_contract.py.j2": "tests/test_contract.py",
}


def output_option(command: F) -> F:
    """``-o``, as ``write_package`` reads it."""
    return option(
        "-o", "--output", metavar="FOLDER", help=f"Folder to write.  [default: {_FOLDER.format(name='NAME')}]"
    )(command)


def write_package(
    kind: str, name: str, output: str | None, more: Mapping[str, str], **context: Any
) -> tuple[Path, list[Path]]:
    """Write the files of a new package into a new or empty folder, which appears when it is complete; returns both.

    ``kind``: ``adapter``, ``extension`` or ``backend``. ``more``: its own templates, with their paths.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from adaptrt.errors import OutputError, UsageError

    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        close = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "mynet"
        close = f"my-{close}" if close[0].isdigit() else close
        raise UsageError(
            f"{name!r} is not a valid {kind} name.",
            hint=f"Use lower case, digits and dashes, a letter first: {close}",
        )
    taken = _taken(kind, name)
    if taken is not None:
        raise UsageError(f"The {kind} {name!r} already exists in {taken}.", hint=f"Choose another name: {name}-2")
    folder = Path(_FOLDER.format(name=name) if output is None else output)
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
    texts = {
        place.format(package=package): environment.get_template(template).render(
            name=name, package=package, title=title, core=_core_bounds(), **context
        )
        for template, place in {**_COMMON, **more}.items()
    }
    texts[f"{package}/py.typed"] = ""
    try:
        _write_whole(folder, texts)
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be written: {error.strerror}.", hint="Choose another folder with -o."
        ) from error
    return folder, [folder / place for place in texts]


def _write_whole(folder: Path, texts: Mapping[str, str]) -> None:
    """Write all files or, if interrupted, none; folders that had to be created are then removed."""
    from adaptrt.store.workspace import created_folder

    with created_folder(folder), ExitStack() as undo:
        with tempfile.TemporaryDirectory(prefix=".adaptrt-", dir=folder) as aside:
            for place, text in texts.items():
                path = Path(aside) / place
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            for entry in Path(aside).iterdir():
                undo.callback(_remove, folder / entry.name)
                entry.replace(folder / entry.name)
        undo.pop_all()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


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
