"""Limits on the threads of this process, which frameworks set: Ultralytics sets one for OpenMP and one for OpenCV when it is imported, and
one for torch when it predicts.

They would apply to ONNX Runtime, to preprocessing, to other processes, and to what the program does later.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import NamedTuple

from adaptrt.forks import prepare_forks

_OPENMP = "OMP_NUM_THREADS"
_DEFAULT = -1  # OpenCV's own number


class ThreadLimits(NamedTuple):
    """``openmp``: the value of the variable. ``opencv``: the number of threads; ``None`` before OpenCV is imported."""

    openmp: str | None
    opencv: int | None


class _TorchThreads(threading.local):
    """Of each of the hooks in progress in this thread; ``None`` before torch is imported."""

    def __init__(self) -> None:
        self.before: list[int | None] = []


class _Kept:
    """Restores the limits after a hook.

    They are those from before the first of the hooks in progress: another one may begin while a framework is imported, and must not take
    its limits for those of the user. torch has a number for each thread.
    """

    def __init__(self) -> None:
        self.forked()
        prepare_forks(self)
        self._before = ThreadLimits(None, None)
        self._hooks = 0
        self._torch = _TorchThreads()

    def forked(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            if not self._hooks:
                self._before = _limits()
            self._hooks += 1
        self._torch.before.append(_torch_threads())

    def __exit__(self, *_: object) -> None:
        torch = self._torch.before.pop()
        if torch is not None and torch != _torch_threads():
            sys.modules["torch"].set_num_threads(torch)
        with self._lock:
            self._hooks -= 1
            _restore(self._before)

    @property
    def openmp(self) -> str | None:
        """The user's variable, also while a hook has changed it."""
        with self._lock:
            return self._before.openmp if self._hooks else os.environ.get(_OPENMP)


kept_thread_limits = _Kept()


def _torch_threads() -> int | None:
    count = getattr(sys.modules.get("torch"), "get_num_threads", None)  # missing while it is being imported
    return None if count is None else int(count())


def _limits() -> ThreadLimits:
    opencv = sys.modules.get("cv2")
    count = getattr(opencv, "getNumThreads", None)  # missing while it is being imported
    return ThreadLimits(os.environ.get(_OPENMP), None if count is None else count())


def _restore(before: ThreadLimits) -> None:
    now = _limits()
    if now.openmp != before.openmp:
        if before.openmp is None:
            os.environ.pop(_OPENMP, None)
        else:
            os.environ[_OPENMP] = before.openmp
    if now.opencv is not None and now.opencv != before.opencv:
        sys.modules["cv2"].setNumThreads(_DEFAULT if before.opencv is None else before.opencv)
