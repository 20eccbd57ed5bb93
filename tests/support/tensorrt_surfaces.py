"""The recorded API of TensorRT's Python packages; ``tools/tensorrt_surface.py`` writes the files."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).with_name("surfaces")
VERSIONS = ("8.6.0", "10.16.1", "11.4.0")
"""One of each generation; ``rtx_1.7.1`` is TensorRT-RTX."""


def read_surface(version: str) -> dict[str, Any]:
    """Public name to what it is: ``{"Builder": {"kind": "class", "bases": [], "members": {...}}, ...}``."""
    surface = json.loads(lzma.decompress((FOLDER / f"{version}.json.xz").read_bytes()))
    names: dict[str, Any] = surface["names"]
    return names
