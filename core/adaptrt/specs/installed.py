"""The installed distributions that declare objects of adaptrt in their entry points."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import Distribution

UNKNOWN = "an unknown distribution"


def declaring_distributions() -> Iterator[tuple[str, Distribution]]:
    """Name and distribution of each one with an entry point in a group ``adaptrt.*``. Nothing is imported.

    Only text is searched until one of them is found: an environment has hundreds of distributions, and the metadata of
    one is a page long. The first on ``sys.path`` counts if a distribution is found twice, for example in the folder of its
    sources, which setuptools leaves an ``.egg-info`` in.
    """
    from importlib import metadata  # its import takes longer than all others of `adaptrt --version`

    seen = {""}
    for distribution in metadata.distributions():
        if "[adaptrt." not in (distribution.read_text("entry_points.txt") or ""):
            continue
        text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
        found = re.search(r"^Name: *(\S+)", text, re.MULTILINE)
        name = found[1] if found else ""  # an interrupted installation leaves no metadata
        key = re.sub(r"[-_.]+", "-", name).lower()  # equal for all spellings of a name
        if not name or key not in seen:
            yield name or UNKNOWN, distribution
        seen.add(key)


def installed_distribution(name: str) -> Distribution:
    """The distribution as its installer recorded it, with ``RECORD`` and ``direct_url.json``; else the first on ``sys.path``.

    In the folder of its sources, the ``.egg-info`` of setuptools is found first, which has neither.
    """
    from importlib import metadata

    first = metadata.distribution(name)
    if first.read_text("RECORD") is not None:
        return first
    found = metadata.distributions(name=name)
    return next((one for one in found if one.read_text("RECORD") is not None), first)


def install_target(distribution: str) -> str:
    """What pip installs one of this project's distributions from: its name, or its folder if adaptrt itself comes from a clone."""
    from adaptrt.errors import in_shell

    clone = _clone()
    if clone is None:
        return distribution
    for kind in ("adapters", "extensions"):
        folder = clone / kind / distribution.removeprefix("adaptrt-")
        if (folder / "pyproject.toml").is_file():
            path = os.path.relpath(folder)
            return in_shell(str(folder) if path.startswith(os.pardir) else f".{os.sep}{path}")
    return distribution


@functools.cache
def _clone() -> Path | None:
    """The folder that adaptrt was installed from; ``None`` if from a package index."""
    import json
    from importlib import metadata
    from urllib.parse import unquote, urlparse

    try:
        text = metadata.distribution("adaptrt").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return None
    url = urlparse(json.loads(text)["url"] if text else "")
    return Path(unquote(url.path)) if url.scheme == "file" and Path(unquote(url.path)).is_dir() else None
