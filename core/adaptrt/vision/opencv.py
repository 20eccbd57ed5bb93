"""OpenCV, or an error that says how to get it."""

from __future__ import annotations

import importlib
from typing import Any

from adaptrt.errors import DependencyError

try:
    cv2: Any = importlib.import_module("cv2")  # its stubs differ from version to version
except ImportError as error:
    if "libGL" in str(error) or "libgthread" in str(error):
        raise DependencyError(
            f"OpenCV lacks a system library: {error}.", hint="On Debian and Ubuntu: apt-get install libgl1 libglib2.0-0"
        ) from error
    raise DependencyError(
        f"Pictures need OpenCV, which cannot be imported: {error}.", hint="pip install opencv-python"
    ) from error

__all__ = ["cv2"]
