"""The options that ``convert`` and ``build`` share: precision, and how TensorRT builds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from adaptrt.cli.framework import option

if TYPE_CHECKING:
    from adaptrt.specs import BuildOptions

F = TypeVar("F", bound=Callable[..., Any])

ENGINE = "Engine"
_SWITCHES = ("fp16", "bf16", "int8")  # precisions that are options, too


def precision_flags(section: str) -> Callable[[F], F]:
    """``--to``, ``--target``, ``--precision`` with its short forms, ``--keep-fp32``."""
    return _all(
        option(
            "--to",
            metavar="A,B",
            section=section,
            help="Files to write: onnx, engine, rtx (TensorRT-RTX), or what another backend builds.  [default: onnx, and "
            "engine if TensorRT can build it]",
        ),
        option(
            "--target",
            metavar="NAME",
            section=section,
            help="What the graph is made for: TensorRT 8, 10 or 11, or another backend's target.  [default: the installed "
            "TensorRT, else the newest]",
        ),
        option(
            "--precision",
            metavar="NAME",
            section=section,
            help="fp32, tf32, fp16, bf16 or int8, for what is built; best.onnx stays float32.  [default: fp32]",
        ),
        option("--fp16", "--half", "fp16", is_flag=True, section=section, help="--precision fp16"),
        option("--bf16", is_flag=True, section=section, help="--precision bf16"),
        option("--int8", is_flag=True, section=section, help="--precision int8; the graph needs Q/DQ nodes."),
        option(
            "--keep-fp32",
            metavar="REGEX",
            multiple=True,
            section=section,
            help="Nodes (by name) or operators that stay float32.",
        ),
    )


def build_flags(command: F) -> F:
    """How TensorRT builds."""
    return _all(
        option(
            "--workspace",
            metavar="SIZE",
            section=ENGINE,
            help="Memory for kernels: 4 (GiB), 512M.  [default: what is free]",
        ),
        option(
            "--opt-level",
            type=click.IntRange(0, 5),
            metavar="0-5",
            section=ENGINE,
            help="0 builds quickly, 5 searches long.  [default: TensorRT's, 3]",
        ),
        option(
            "--tf32/--no-tf32", default=None, section=ENGINE, help="TF32 in what stays float32.  [default: unless fp32]"
        ),
        option(
            "--timing-cache/--no-timing-cache",
            default=True,
            section=ENGINE,
            help="Reuse kernel timings of earlier builds.  [default: yes]",
        ),
        option(
            "--version-compatible",
            is_flag=True,
            section=ENGINE,
            help="Runs in later TensorRT versions too; holds host code.",
        ),
        option(
            "--hardware-compatible",
            type=click.Choice(["ampere+", "same-cc"]),
            section=ENGINE,
            help="Runs on other GPUs too.",
        ),
        option(
            "--strip-weights", is_flag=True, section=ENGINE, help="Leave the weights out of the plan (TensorRT 10 on)."
        ),
        option("--refittable", is_flag=True, section=ENGINE, help="Weights can be replaced later."),
        option(
            "--plugin-lib",
            "plugin_libs",
            metavar="LIB",
            multiple=True,
            section=ENGINE,
            help="Library of TensorRT plugins; the manifest names it.",
        ),
        option(
            "--tactic-sources", metavar="A,B", section=ENGINE, help="Where kernels may come from, by TensorRT's names."
        ),
        option(
            "--compute-capability",
            metavar="A,B",
            section=ENGINE,
            help="GPUs that a TensorRT-RTX engine is for: 8.6,12.0.  [default: 8.0, 8.6, 8.9, 12.0, 12.1]",
        ),
        option(
            "--build-timeout",
            type=click.FloatRange(min=1),
            metavar="SECONDS",
            section=ENGINE,
            help="Give up after this time.",
        ),
        option("--device", metavar="NAME", section=ENGINE, help="The GPU to build on.  [default: cuda:0]"),
        option(
            "--cache/--no-cache",
            default=True,
            section=ENGINE,
            help="Take what was made from the same before.  [default: yes]",
        ),
    )(command)


def precision_from_flags(flags: Mapping[str, Any]) -> str:
    from adaptrt.errors import UsageError
    from adaptrt.specs.precisions import FP32

    switched: list[str] = [name for name in _SWITCHES if flags[name]]
    asked: list[str] = list(dict.fromkeys([*filter(None, [flags["precision"]]), *switched]))
    if len(asked) > 1:
        raise UsageError(
            f"Conflicting precisions: {', '.join(asked)}.", hint="Give one; each engine has a file of its own."
        )
    return asked[0] if asked else FP32.name


def build_from_flags(flags: Mapping[str, Any]) -> BuildOptions:
    from adaptrt.specs import BuildOptions, parse_workspace

    sources = flags["tactic_sources"]
    capabilities = (flags["compute_capability"] or "").split(",")
    return BuildOptions(
        workspace=parse_workspace(flags["workspace"]) if flags["workspace"] is not None else None,
        optimization_level=flags["opt_level"],
        tf32=flags["tf32"],
        timing_cache=flags["timing_cache"],
        version_compatible=flags["version_compatible"],
        hardware_compatible=flags["hardware_compatible"] or "none",
        strip_weights=flags["strip_weights"],
        refittable=flags["refittable"],
        plugin_libs=tuple(flags["plugin_libs"]),
        tactic_sources=None if sources is None else tuple(name.strip() for name in sources.split(",") if name.strip()),
        compute_capabilities=tuple(name.strip() for name in capabilities if name.strip()),
        timeout=flags["build_timeout"],
        device=_device(flags["device"]),
    )


def _device(name: str | None) -> int:
    from adaptrt.errors import UsageError

    if name is None or name == "cuda":
        return 0
    number = name.removeprefix("cuda:")
    if not number.isdecimal():
        raise UsageError(f"--device {name!r} is no GPU.", hint="For example: --device cuda:1")
    return int(number)


def _all(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(command: F) -> F:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate
