"""Where things are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "ADAPTRT_CACHE_DIR"


def cache_folder() -> Path:
    """``$ADAPTRT_CACHE_DIR``, else ``adaptrt`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    own = os.environ.get(VARIABLE)
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "adaptrt"


def timing_folder() -> Path:
    """The folder of the timing caches, one file for each GPU and TensorRT version."""
    return cache_folder() / "timing"
