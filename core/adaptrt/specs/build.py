"""The build options of an engine, as requested by the user."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

from adaptrt.errors import UsageError
from adaptrt.specs.argument_types import require_argument_fields

HardwareCompatible = Literal["none", "ampere+", "same-cc"]

_WORKSPACE = re.compile(r"(?P<number>\d{1,15}(?:\.\d{1,15})?)\s*(?P<unit>[kKmMgGtT]?)(?:i?[bB])?")
_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "": 1 << 30}


@dataclass(frozen=True)
class BuildOptions:
    """Options of a TensorRT build; ``None`` leaves a choice to TensorRT or to automatic detection.

    - ``workspace``: bytes that tactics may use; ``None``: the free memory of the device
    - ``optimization_level``: 0 (a quick build) to 5 (a long search)
    - ``tf32``: allow TF32 in float32 layers; ``None``: yes, unless the precision is fp32
    - ``timing_cache``: reuse tactic timings of earlier builds on this GPU and TensorRT version
    - ``version_compatible``: the engine runs in later TensorRT versions too; it contains host code
    - ``hardware_compatible``: the engine runs on other GPUs too: ``ampere+``, or ``same-cc`` (the same compute capability)
    - ``strip_weights``: omit weights from the plan; ``refittable``: they can be replaced later
    - ``plugin_libs``: shared libraries with TensorRT plugins; ``tactic_sources``: names, for example ``CUBLAS``
    - ``compute_capabilities`` that the engine is for (``8.6``), where a backend builds for other GPUs; empty: its default
    - ``timeout``: seconds after which the build is aborted
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
        require_argument_fields(self)
        if self.optimization_level is not None and not 0 <= self.optimization_level <= 5:
            raise UsageError(
                f"Optimization level must be from 0 to 5; got {self.optimization_level}.",
                hint="Use 0 (a quick build) to 5 (a long search); TensorRT's own default is 3.",
            )
        if self.timeout is not None and not 0 < self.timeout < math.inf:
            raise UsageError(f"The build timeout must be positive; got {self.timeout:g} s.", hint="For example: 3600")

    def changed(self) -> list[str]:
        """The fields that differ from their defaults."""
        return [one.name for one in fields(self) if getattr(self, one.name) != one.default]


# the command-line option that sets each field
FLAGS: Mapping[str, str] = {
    "workspace": "--workspace",
    "optimization_level": "--opt-level",
    "tf32": "--tf32",
    "timing_cache": "--no-timing-cache",
    "version_compatible": "--version-compatible",
    "hardware_compatible": "--hardware-compatible",
    "strip_weights": "--strip-weights",
    "refittable": "--refittable",
    "plugin_libs": "--plugin-lib",
    "tactic_sources": "--tactic-sources",
    "compute_capabilities": "--compute-capability",
    "timeout": "--build-timeout",
    "device": "--device",
}
BUILD_OPTIONS = tuple(one.name for one in fields(BuildOptions))


def compile_pattern(pattern: str, name: str) -> re.Pattern[str]:
    """A pattern of nodes; ``name`` is the option with this value."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UsageError(
            f"{name} {pattern!r} is not a valid regular expression: {error}.",
            hint=f"The pattern is searched in node names and matched against operators: {name} '/head/.*' {name} Softmax",
        ) from error


def parse_workspace(text: str, name: str = "--workspace") -> int:
    """``4`` (GiB), ``4G``, ``512M``, ``1.5G`` to bytes; ``name`` is the option with this value."""
    match = _WORKSPACE.fullmatch(text.strip())
    size = int(float(match["number"]) * _UNITS[match["unit"].lower()]) if match else 0
    if size < 1:
        raise UsageError(f"Invalid value for {name}: {text!r}.", hint=f"For example: {name} 4 (GiB), or {name} 512M")
    return size
