"""What an engine is to be: precision and build options, as the user asked for them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from adaptrt.errors import UsageError

HardwareCompatible = Literal["none", "ampere+", "same-cc"]

_WORKSPACE = re.compile(r"(?P<number>\d{1,15}(?:\.\d{1,15})?)\s*(?P<unit>[kKmMgGtT]?)(?:i?[bB])?")
_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "": 1 << 30}


@dataclass(frozen=True)
class BuildOptions:
    """How TensorRT builds; whatever is ``None`` is left to TensorRT or found out on the spot.

    - ``workspace``: bytes that tactics may use; ``None``: what is free on the device
    - ``optimization_level``: 0 (a quick build) to 5 (a long search)
    - ``tf32``: TF32 products in what stays float32; ``None``: unless the precision is fp32
    - ``timing_cache``: reuse tactic timings of earlier builds on this GPU and TensorRT version
    - ``version_compatible``: the engine runs in later TensorRT versions too; it holds host code
    - ``hardware_compatible``: the engine runs on other GPUs too: ``ampere+``, or ``same-cc`` (the same compute capability)
    - ``strip_weights``: leave weights out of the plan; ``refittable``: they can be replaced later
    - ``plugin_libs``: shared libraries with TensorRT plugins; ``tactic_sources``: names, for example ``CUBLAS``
    - ``compute_capabilities`` that the engine is for (``8.6``), where a backend builds for other GPUs; empty: its default
    - ``timeout``: seconds after which the build is given up
    """

    workspace: int | None = None
    optimization_level: int | None = None
    tf32: bool | None = None
    timing_cache: bool = True
    version_compatible: bool = False
    hardware_compatible: HardwareCompatible = "none"
    strip_weights: bool = False
    refittable: bool = False
    plugin_libs: tuple[str, ...] = ()
    tactic_sources: tuple[str, ...] | None = None
    compute_capabilities: tuple[str, ...] = ()
    timeout: float | None = None
    device: int = 0

    def __post_init__(self) -> None:
        if self.optimization_level is not None and not 0 <= self.optimization_level <= 5:
            raise UsageError(
                f"Optimization level {self.optimization_level} does not exist.",
                hint="Use 0 (a quick build) to 5 (a long search); TensorRT's own default is 3.",
            )
        if self.timeout is not None and not 0 < self.timeout < math.inf:
            raise UsageError(f"A build cannot end after {self.timeout:g} s.", hint="For example: --build-timeout 3600")


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """A pattern of ``--keep-fp32``."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UsageError(
            f"--keep-fp32 {pattern!r} is no regular expression: {error}.",
            hint="It is searched in node names and held against operators: --keep-fp32 '/head/.*' --keep-fp32 Softmax",
        ) from error


def parse_workspace(text: str, name: str = "--workspace") -> int:
    """``4`` (GiB), ``4G``, ``512M``, ``1.5G`` to bytes; ``name`` is what was set to this."""
    match = _WORKSPACE.fullmatch(text.strip())
    size = int(float(match["number"]) * _UNITS[match["unit"].lower()]) if match else 0
    if size < 1:
        raise UsageError(f"{name} {text!r} cannot be read.", hint=f"For example: {name} 4 (GiB), or {name} 512M")
    return size
