"""Which TensorRT is installed, and what each generation has: the one place that knows differences between versions."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Literal

from adaptrt.errors import DependencyError, UsageError, did_you_mean
from adaptrt.specs import BuildOptions
from adaptrt.specs.targets import Target

Flavour = Literal["full", "lean", "dispatch"]

# the module to import, by what it can do; the bindings packages lie behind `tensorrt` in the newer wheels
_MODULES: dict[Flavour, tuple[str, ...]] = {
    "full": ("tensorrt", "tensorrt_bindings"),
    "lean": ("tensorrt_lean", "tensorrt_lean_bindings"),
    "dispatch": ("tensorrt_dispatch", "tensorrt_dispatch_bindings"),
}
_DISTRIBUTIONS = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12", "tensorrt-cu11")


@dataclass(frozen=True, kw_only=True)
class Generation(Target):
    """A TensorRT generation (8, 10, 11), and what its builder has.

    - ``sharing_preview``: several contexts on one profile need a preview feature at build
    - ``needs_strong_flag``: strong typing has to be asked for (11 knows nothing else)
    - ``tactic_sources``: where kernels may come from
    """

    strip_plan: bool
    progress: bool
    sharing_preview: bool
    explicit_batch_flag: bool
    needs_strong_flag: bool
    same_cc: bool
    tactic_sources: tuple[str, ...]


_OWN_KERNELS = ("EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS")
_ALL_KERNELS = ("CUBLAS", "CUBLAS_LT", "CUDNN", *_OWN_KERNELS)
_GENERATIONS = {
    8: Generation(
        name="8",
        title="TensorRT 8",
        generation=8,
        newest_opset=17,
        strongly_typed=False,
        bf16=False,
        int64=False,
        exporter="torchscript",  # it refuses parts of opset 18, the least that dynamo writes
        strip_plan=False,
        progress=False,
        sharing_preview=True,
        explicit_batch_flag=True,
        needs_strong_flag=False,
        same_cc=False,
        tactic_sources=_ALL_KERNELS,
    ),
    10: Generation(
        name="10",
        title="TensorRT 10",
        generation=10,
        newest_opset=20,
        strongly_typed=True,
        bf16=True,
        int64=True,
        strip_plan=True,
        progress=True,
        sharing_preview=False,
        explicit_batch_flag=False,
        needs_strong_flag=True,
        same_cc=True,
        tactic_sources=_ALL_KERNELS,
    ),
    11: Generation(
        name="11",
        title="TensorRT 11",
        generation=11,
        newest_opset=20,
        strongly_typed=True,
        bf16=True,
        int64=True,
        strip_plan=True,
        progress=True,
        sharing_preview=False,
        explicit_batch_flag=False,
        needs_strong_flag=False,
        same_cc=True,
        tactic_sources=_OWN_KERNELS,
    ),
}
NEWEST = max(_GENERATIONS)


@dataclass(frozen=True)
class TensorRT:
    """An imported TensorRT: ``trt`` is its module. Only the full product can build."""

    trt: Any
    version: str
    flavour: Flavour

    @property
    def generation(self) -> Generation:
        return generation_of(self.version)


def generation_of(version: str | int) -> Generation:
    """What the generation of a version has; ``8.6.0`` or ``8``. Unknown ones are refused."""
    parts = str(version).split(".")
    major = int(parts[0]) if parts[0].isdigit() else 0
    if major == 8 and len(parts) > 1 and parts[1].isdigit() and int(parts[1]) < 6:
        raise DependencyError(
            f"TensorRT {version} is too old.", hint="adaptrt knows TensorRT 8.6, 10 and 11: pip install tensorrt"
        )
    if major not in _GENERATIONS:
        raise DependencyError(
            f"adaptrt does not know TensorRT {version}.", hint="It knows TensorRT 8.6, 10 and 11: pip install tensorrt"
        )
    return _GENERATIONS[major]


def can_build() -> bool:
    """Whether the full TensorRT is installed; nothing is imported."""
    return any(importlib.util.find_spec(name) is not None for name in _MODULES["full"])


def installed_version() -> str | None:
    """The version of the full TensorRT, from its metadata: nothing is imported."""
    for distribution in _DISTRIBUTIONS:
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None


def default_target() -> Generation:
    """The generation that graphs are made for: the installed one, else the newest."""
    return generation_of(installed_version() or NEWEST)


def import_tensorrt(*, builder: bool = False) -> TensorRT:
    """The full TensorRT, else (unless ``builder``) the lean or the dispatch runtime."""
    problems = []
    for flavour, names in _MODULES.items():
        if builder and flavour != "full":
            continue
        for name in names:
            if importlib.util.find_spec(name) is None:
                continue
            try:
                module = importlib.import_module(name)
            except (ImportError, OSError, RuntimeError) as error:
                problems.append(f"{name}: {error}")
                continue
            version = str(module.__version__)
            generation_of(version)
            return TensorRT(module, version, flavour)
    if problems:
        raise DependencyError(
            f"TensorRT is installed and cannot be imported: {problems[0]}",
            hint="A library it needs is missing or does not fit: check LD_LIBRARY_PATH and the CUDA version.",
        )
    what = "building an engine needs the full one" if builder else "running an engine needs it"
    raise DependencyError(
        f"TensorRT is not installed; {what}.", hint="Install it: pip install 'adaptrt[trt]' (Linux, NVIDIA GPU)"
    )


def require_supported(options: BuildOptions, precision: str, version: str) -> None:
    """Refuse by name what this version lacks."""
    features = generation_of(version)
    wanted = {
        "--precision bf16": (precision == "bf16", features.bf16, "Use --precision fp16"),
        "--strip-weights": (options.strip_weights, features.strip_plan, "Leave it out"),
        "--hardware-compatible same-cc": (
            options.hardware_compatible == "same-cc",
            features.same_cc,
            "Use --hardware-compatible ampere+",
        ),
    }
    for name, (asked, available, instead) in wanted.items():
        if asked and not available:
            raise UsageError(
                f"TensorRT {version} has no {name.removeprefix('--')}: {name} needs TensorRT 10 or later.",
                hint=f"{instead}, or install a newer TensorRT.",
            )
    for name in options.tactic_sources or ():
        if name.upper() not in features.tactic_sources:
            raise UsageError(
                f"TensorRT {version} has no tactic source {name!r}.",
                hint=did_you_mean(name.upper(), features.tactic_sources),
            )
