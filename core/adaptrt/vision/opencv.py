"""Imports OpenCV, or raises an error with installation instructions."""

from __future__ import annotations

import importlib
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from adaptrt.errors import DependencyError

if TYPE_CHECKING:
    from collections.abc import Iterator

_VARIABLE = "OPENCV_IO_MAX_IMAGE_PIXELS"
_DEFAULT = 1 << 27  # a small file can declare any size; this many pixels take 400 MB
_GIVEN = os.environ.get(_VARIABLE, "")
MAX_PIXELS = int(_GIVEN) if _GIVEN.isascii() and _GIVEN.isdecimal() else _DEFAULT


@contextmanager
def _pixel_limit() -> Iterator[None]:
    """OpenCV's default limit is 2^30 pixels; it reads another one from the environment once, when it is loaded."""
    if _VARIABLE in os.environ:
        yield
        return
    os.environ[_VARIABLE] = str(MAX_PIXELS)
    try:
        yield
    finally:
        del os.environ[_VARIABLE]


try:
    with _pixel_limit():
        cv2: Any = importlib.import_module("cv2")  # its stubs differ from version to version
except ImportError as error:
    if "libGL" in str(error) or "libgthread" in str(error):
        raise DependencyError(
            f"OpenCV lacks a system library: {error}.", hint="On Debian and Ubuntu: apt-get install libgl1 libglib2.0-0"
        ) from error
    raise DependencyError(
        f"Reading images requires OpenCV, which cannot be imported: {error}.", hint="pip install opencv-python"
    ) from error

__all__ = ["MAX_PIXELS", "cv2"]
