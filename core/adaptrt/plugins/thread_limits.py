"""Limits on the threads of this process, which frameworks set when they are imported: Ultralytics sets one for OpenMP and one for OpenCV.

They would apply to ONNX Runtime, to preprocessing and to other processes too.
"""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

_OPENMP = "OMP_NUM_THREADS"
_DEFAULT = -1  # OpenCV's own number


class ThreadLimits(NamedTuple):
    """``openmp``: the value of the variable. ``opencv``: the number of threads; ``None`` before OpenCV is imported."""

    openmp: str | None
    opencv: int | None


def thread_limits() -> ThreadLimits:
    opencv = sys.modules.get("cv2")
    count = getattr(opencv, "getNumThreads", None)  # missing while it is being imported
    return ThreadLimits(os.environ.get(_OPENMP), None if count is None else count())


def restore_thread_limits(before: ThreadLimits) -> None:
    now = thread_limits()
    if now.openmp != before.openmp:
        if before.openmp is None:
            os.environ.pop(_OPENMP, None)
        else:
            os.environ[_OPENMP] = before.openmp
    if now.opencv != before.opencv:
        sys.modules["cv2"].setNumThreads(_DEFAULT if before.opencv is None else before.opencv)
