"""The table of Polygraphy on the page for users of other tools, option by option."""

from __future__ import annotations

import json
import lzma
import re
import shlex
from pathlib import Path

from command_tree import command_of

ROOT = Path(__file__).parents[2]
POLYGRAPHY = json.loads(lzma.decompress((ROOT / "tests/support/surfaces/polygraphy_0.53.6.json.xz").read_bytes()))
"""By command; ``tools/polygraphy_options.py`` writes the file."""


def test_the_table_of_polygraphy_names_what_both_have() -> None:
    """The options of Polygraphy are those that its own help lists, by command."""
    page = (ROOT / "docs/how-to/coming-from.md").read_text(encoding="utf-8").partition("## Polygraphy")[2]
    rows = [line.strip("|").split(" | ") for line in page.splitlines() if line.startswith("| `polygraphy ")]
    assert len(rows) > 10
    command = ""
    for theirs, ours in rows:
        words = theirs.strip(" `").split()
        command = next(name for name in POLYGRAPHY if words[1 : 1 + len(name.split())] == name.split())
        for option in re.findall(r"(?<![\w-])--?[a-z0-9][a-z0-9-]*", theirs):
            assert option in POLYGRAPHY[command], f"polygraphy {command} has no {option}"
        for line in re.findall(r"`adaptrt ([^`]+)`", ours):
            name, *given = shlex.split(line)
            known = {option for parameter in command_of(name).params for option in parameter.opts}
            assert {word for word in given if word.startswith("-")} <= known, line
    for option in re.findall(r"`(--[a-z-]+)`", page.rpartition("\n\n")[2]):
        assert option in POLYGRAPHY["convert"], option
