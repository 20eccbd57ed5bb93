"""Module search path: configs and model files import modules next to them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def module_search_path(*folders: Path) -> Iterator[None]:
    """Search the folders for modules first, in this order, as ``python`` does; those that were added are removed again."""
    added = [place for place in (str(folder.resolve()) for folder in folders) if place not in sys.path]
    sys.path[:0] = added
    try:
        yield
    finally:
        for place in added:
            if place in sys.path:
                sys.path.remove(place)
