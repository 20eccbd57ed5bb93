"""Files generated from plugins.toml: the adapters page, the README's table of adapters, and the CI jobs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from adaptrt.plugins.settings import CatalogEntry, read_settings

ROOT = Path(__file__).parents[2]
START, END = "<!-- adapters: written by `make docs` out of plugins.toml -->", "<!-- end of adapters -->"

Catalog = Mapping[str, CatalogEntry]


def catalog() -> Catalog:
    return read_settings(ROOT / "plugins.toml").adapters


def by_distribution() -> dict[str, dict[str, CatalogEntry]]:
    """Map each distribution to its adapters, in the order of plugins.toml."""
    found: dict[str, dict[str, CatalogEntry]] = {}
    for name, entry in catalog().items():
        found.setdefault(entry.distribution, {})[name] = entry
    return found


def folder_of(distribution: str) -> str:
    """The folder of a first-party distribution below adapters/ and tests/adapters/."""
    return distribution.removeprefix("adaptrt-")


def adapters_page() -> str:
    """Every distribution with its adapters, what they convert, and an example command."""
    lines = [
        "<!-- Written by `make docs` out of plugins.toml: change it there. -->\n",
        "# Adapters\n",
        "There is one distribution for each framework, with its own version pins. `adaptrt adapters` shows which adapters are",
        "installed and whether they can run; `adaptrt adapters --all` also lists those that are not installed. Third-party",
        "adapters are listed as soon as they are installed: see [a complete example](../examples/adaptrt-tvseg/README.md).",
    ]
    for distribution, adapters in by_distribution().items():
        first = next(iter(adapters.values()))
        lines += ["", f"## {distribution}", ""]
        lines += [f"For `{first.framework}`. License: {first.license}. [Sources and options]"
                  f"(../../adapters/{folder_of(distribution)}/README.md)."]  # fmt: skip
        lines += [
            "",
            f"```text\npip install {distribution}\n```",
            "",
            f"From a clone: `pip install . ./adapters/{folder_of(distribution)}`.",
            "",
            "| adapter | models | examples |",
            "|---|---|---|",
        ]
        for name, entry in adapters.items():
            examples = ", ".join(f"`{example}`" for example in entry.examples)
            lines.append(f"| `{name}` | {entry.summary} | {examples} |")
    return "\n".join(lines) + "\n"


def readme() -> str:
    """The README with an updated table of adapters."""
    rows = ["| adapter | models | framework | license | distribution |", "|---|---|---|---|---|"]
    for name, entry in catalog().items():
        place = f"[{entry.distribution}](adapters/{folder_of(entry.distribution)}/README.md)"
        rows.append(f"| `{name}` | {entry.summary} | `{entry.framework}` | {entry.license} | {place} |")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = "\n".join([START, *rows, END])
    replaced, count = re.subn(f"{re.escape(START)}.*?{re.escape(END)}", lambda _: block, text, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"README.md must contain the lines {START} and {END} exactly once.")
    return replaced


WORKFLOW = """\
# Written by `make docs` out of plugins.toml: change it there, or in docs/generators/catalog.py.
name: checks
on: [push, pull_request]

permissions:
  contents: read

env:
  CONSTRAINTS: -c constraints.txt
  LIBRARIES: sudo apt-get install -y -qq libgl1 libglib2.0-0
  TOOLS: hypothesis jsonschema pytest pytest-timeout pytest-xdist pyyaml

jobs:
  everything:
    runs-on: ubuntu-latest
    timeout-minutes: 90  # under 60 on two quiet cores; with Ray, Triton, and the oldest and newest frameworks
    steps:
      - uses: actions/checkout@v4
        with: {persist-credentials: false}
      - uses: actions/setup-python@v5
        with: {python-version: "3.11"}
      - run: $LIBRARIES
      - run: .ci/run

  site:
    name: documentation site, with its links
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
        with: {persist-credentials: false}
      - uses: actions/setup-python@v5
        with: {python-version: "3.11"}
      - run: $LIBRARIES
      - run: make site
      - uses: actions/upload-artifact@v4
        with: {name: site, path: build/site}

  core:
    name: core, without any framework
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
        with: {persist-credentials: false}
      - uses: actions/setup-python@v5
        with: {python-version: "3.11"}
      - run: $LIBRARIES
      - run: pip install $CONSTRAINTS -e '.[onnx]'
      - run: adaptrt --version && adaptrt adapters --all && adaptrt doctor
      - run: pip install $CONSTRAINTS -e '.[export]' $TOOLS
      - run: pytest -m 'not full' tests/unit tests/hooks tests/repo

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
        with: {persist-credentials: false}
      - uses: actions/setup-python@v5
        with: {python-version: "3.11"}
      - run: $LIBRARIES
      - run: pip install $CONSTRAINTS -e '.[export]' -e adapters/${{ matrix.folder }} $TOOLS
      - run: adaptrt adapters --check
      - run: pytest tests/adapters/${{ matrix.folder }}
"""


def workflow() -> str:
    """One job per adapter with only its own requirements, one for core, one for the site, and one for everything (``.ci/run``)."""
    jobs = [
        f"          - {{distribution: {distribution}, folder: {folder_of(distribution)}}}  # {', '.join(adapters)}"
        for distribution, adapters in by_distribution().items()
    ]
    return WORKFLOW % {"jobs": "\n".join(jobs)}
