"""The address of the repository is that in the ``pyproject.toml`` of the core; everything else that names it is derived from there."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[2]
_SOURCE = re.compile(r'^Repository = "(https://[^"/]+/([^"/]+/[^"/]+))"$', re.MULTILINE)
_ADDRESS = re.compile(r"https://[^\"'/\s]+/[\w.-]+/[\w.-]+(?=[\"'/])")


def repository() -> tuple[str, str]:
    """The address, and the owner and name in it."""
    found = _SOURCE.findall((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    if len(found) != 1:
        raise SystemExit('pyproject.toml must have one line Repository = "https://HOST/OWNER/NAME".')
    return found[0]


def files() -> dict[str, Callable[[], str]]:
    """What makes the text of each file that names the address: the projects of all distributions, and that of the site."""
    projects = [
        ROOT / "pyproject.toml",
        *ROOT.glob("adapters/*/pyproject.toml"),
        *ROOT.glob("extensions/*/pyproject.toml"),
    ]
    made = {str(path.relative_to(ROOT)): partial(_project, path) for path in sorted(projects)}
    return {**made, "mkdocs.yml": _site}


def _project(path: Path) -> str:
    """Every other address in these files would have to be excepted here."""
    return _ADDRESS.sub(repository()[0], path.read_text(encoding="utf-8"))


def _site() -> str:
    address, name = repository()
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    text = re.sub(r"^repo_url: .*$", f"repo_url: {address}", text, flags=re.MULTILINE)
    return re.sub(r"^repo_name: .*$", f"repo_name: {name}", text, flags=re.MULTILINE)
