"""What is written out of plugins.toml: the page of adapters, the README's table, and the jobs of the CI."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from adaptrt.plugins.settings import CatalogueEntry, read_settings

ROOT = Path(__file__).parents[1]
START, END = "<!-- adapters: written by `make docs` out of plugins.toml -->", "<!-- end of adapters -->"

Catalogue = Mapping[str, CatalogueEntry]


def catalogue() -> Catalogue:
    return read_settings(ROOT / "plugins.toml").adapters


def by_distribution() -> dict[str, dict[str, CatalogueEntry]]:
    """Distribution to its adapters, in the order of plugins.toml."""
    found: dict[str, dict[str, CatalogueEntry]] = {}
    for name, entry in catalogue().items():
        found.setdefault(entry.distribution, {})[name] = entry
    return found


def folder_of(distribution: str) -> str:
    """Where a first-party distribution lies below adapters/ and tests/adapters/."""
    return distribution.removeprefix("adaptrt-")


def adapters_page() -> str:
    """Every distribution with its adapters, what they are for, and a line to start with."""
    lines = [
        "<!-- Written by `make docs` out of plugins.toml: change it there. -->\n",
        "# Adapters\n",
        "A distribution for each framework; its pins are its own. `adaptrt adapters` says which are installed and whether",
        "they can run, `adaptrt adapters --all` what else there is. Others' adapters appear there as soon as they are",
        "installed: [a complete one](../examples/adaptrt-tvseg/README.md).",
    ]
    for distribution, adapters in by_distribution().items():
        first = next(iter(adapters.values()))
        lines += ["", f"## {distribution}", ""]
        lines += [f"For `{first.framework}`. Licence: {first.license}. [What it reads, and its options]"
                  f"(../../adapters/{folder_of(distribution)}/README.md)."]  # fmt: skip
        lines += [
            "",
            f"```text\npip install {distribution}\n```",
            "",
            "| adapter | models | for example |",
            "|---|---|---|",
        ]
        for name, entry in adapters.items():
            examples = ", ".join(f"`{example}`" for example in entry.examples)
            lines.append(f"| `{name}` | {entry.summary} | {examples} |")
    return "\n".join(lines) + "\n"


def readme() -> str:
    """The README with its table of adapters renewed."""
    rows = ["| adapter | models | framework | licence | in |", "|---|---|---|---|---|"]
    for name, entry in catalogue().items():
        place = f"[{entry.distribution}](adapters/{folder_of(entry.distribution)}/README.md)"
        rows.append(f"| `{name}` | {entry.summary} | `{entry.framework}` | {entry.license} | {place} |")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = "\n".join([START, *rows, END])
    replaced, count = re.subn(f"{re.escape(START)}.*?{re.escape(END)}", lambda _: block, text, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"README.md has to hold the lines {START} and {END} once.")
    return replaced


WORKFLOW = """\
# Written by `make docs` out of plugins.toml: change it there, or in docs/catalogue.py.
name: checks
on: [push, pull_request]

env:
  CONSTRAINTS: -c constraints.txt
  LIBRARIES: sudo apt-get install -y -qq libgl1 libglib2.0-0
  TOOLS: pytest pytest-timeout pytest-xdist hypothesis

jobs:
  everything:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with: {python-version: "3.11"}
      - run: $LIBRARIES
      - run: .ci/run

  core:
    name: core, without any framework
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with: {python-version: "3.11"}
      - run: $LIBRARIES
      - run: pip install $CONSTRAINTS -e '.[onnx]' $TOOLS
      - run: adaptrt --version && adaptrt adapters --all && adaptrt doctor
      - run: pytest tests/unit tests/hooks tests/repo

  adapter:
    name: ${{ matrix.distribution }} alone
    runs-on: ubuntu-latest
    strategy:
      fail-fast: false
      matrix:
        include:
%(jobs)s
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with: {python-version: "3.11"}
      - run: $LIBRARIES
      - run: pip install $CONSTRAINTS -e '.[export]' -e adapters/${{ matrix.folder }} $TOOLS
      - run: adaptrt adapters --check
      - run: pytest tests/adapters/${{ matrix.folder }}
"""


def workflow() -> str:
    """A job for each distribution, with its own requirements and nothing else; one for the core; one for everything."""
    jobs = [
        f"          - {{distribution: {distribution}, folder: {folder_of(distribution)}}}  # {', '.join(adapters)}"
        for distribution, adapters in by_distribution().items()
    ]
    return WORKFLOW % {"jobs": "\n".join(jobs)}
