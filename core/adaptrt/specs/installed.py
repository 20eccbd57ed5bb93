"""The installed distributions that declare objects of adaptrt in their entry points."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import Distribution

UNKNOWN = "an unknown distribution"


def declaring_distributions() -> Iterator[tuple[str, Distribution]]:
    """Name and distribution of each one with an entry point in a group ``adaptrt.*``. Nothing is imported.

    Only text is searched until one of them is found: an environment has hundreds of distributions, and the metadata of
    one is a page long. The first on ``sys.path`` counts if a distribution is found twice.
    """
    from importlib import metadata  # its import takes longer than all others of `adaptrt --version`

    seen = {""}
    for distribution in metadata.distributions():
        if "[adaptrt." not in (distribution.read_text("entry_points.txt") or ""):
            continue
        found = re.search(r"^Name: *(\S+)", distribution.read_text("METADATA") or "", re.MULTILINE)
        name = found[1] if found else ""  # an interrupted installation leaves no metadata
        if not name or name not in seen:
            yield name or UNKNOWN, distribution
        seen.add(name)
