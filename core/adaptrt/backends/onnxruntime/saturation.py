"""Whether int8 kernels of ONNX Runtime overflow on this CPU."""

from __future__ import annotations

import functools
import platform
from pathlib import Path

_CPU = Path("/proc/cpuinfo")


@functools.cache
def int8_saturates() -> bool:
    """Whether sums of two int8 products are kept in 16 bits, where they saturate: on x86 CPUs without VNNI.

    Engines and other CPUs add in 32 bits. Scores of a good Q/DQ graph may be many points lower here with these kernels.
    """
    return platform.machine().lower() in {"x86_64", "amd64"} and "vnni" not in _flags()


def _flags() -> str:
    """The features of the CPU; empty if they are not known."""
    try:
        lines = _CPU.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith("flags")), "")
