"""The options that ``convert`` and ``build`` share: precision, and how TensorRT builds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from adaptrt.cli.completion import complete_precisions
from adaptrt.cli.framework import option
from adaptrt.cli.precision_switches import LABELED, core_switches, not_quantizing, switched
from adaptrt.cli.shared_flags import F, in_order

if TYPE_CHECKING:
    from adaptrt.specs import BuildOptions
    from adaptrt.specs.calibration import CalibrationRequest, LabeledData

R = TypeVar("R")

ENGINE, INT8 = "Engine", "Quantization"


def not_verified(verify: str) -> Sequence[str]:
    """The parameters that do not fit ``--verify none``."""
    return (*LABELED, "require") if verify == "none" else ()


def precision_flags(section: str) -> Callable[[F], F]:
    """``--to``, ``--target``, ``--precision`` with its short forms, ``--keep-fp32``."""
    return in_order(
        option(
            "--to",
            metavar="A,B",
            section=section,
            help="Files to write: onnx, engine, rtx (TensorRT-RTX), or a file of another backend.  [default: onnx, and "
            "engine if TensorRT can build it]",
        ),
        option(
            "--target",
            metavar="NAME",
            section=section,
            help="Target of the graph: TensorRT 8, 10 or 11, or another backend's target.  [default: the installed "
            "TensorRT, else the newest]",
        ),
        option(
            "--precision",
            metavar="NAME",
            section=section,
            overrules=not_quantizing,
            shell_complete=complete_precisions,
            help="Precision of the engine: fp32, tf32, fp16, bf16, int8 (with --calib, or a file with Q/DQ nodes to build), or a "
            "plugin's precision; --NAME is short for --precision NAME. best.onnx stays float32.  [default: fp32]",
        ),
        *core_switches(section),
        option(
            "--keep-fp32",
            metavar="REGEX",
            multiple=True,
            section=section,
            help="Nodes (by name) or operators to keep in float32.",
        ),
        option(
            "--recipe",
            metavar="FILE",
            section=section,
            help="A recipe written by adaptrt tune: the precision, and what stays in a higher one.",
        ),
    )


def calibration_flags(command: F) -> F:
    """``--calib`` and what belongs to it, and the labeled images that an int8 model is judged on."""
    return in_order(
        option(
            "--calib",
            metavar="PATH",
            section=INT8,
            help="Images to measure ranges on: a folder, a pattern, a .txt list, or an .npz file of inputs.",
        ),
        option(
            "--calib-images",
            type=int,
            metavar="N",
            section=INT8,
            help="Use at most N images, spread evenly.  [default: 256]",
        ),
        option("--calib-batch", type=int, metavar="N", section=INT8, help="Images at a time.  [default: 1]"),
        option(
            "--calib-method",
            metavar="NAME",
            section=INT8,
            help="minmax, entropy or percentile: how ranges are derived from the values.  [default: minmax]",
        ),
        option(
            "--calib-cache",
            metavar="FILE",
            section=INT8,
            help="Keep the ranges in FILE, and reuse them for the same graph and images.",
        ),
        option(
            "--keep-fp16",
            metavar="REGEX",
            multiple=True,
            section=INT8,
            help="Layers (by name) or operators to exclude from int8; they compute in fp16.",
        ),
        option(
            "--quantize-also",
            metavar="REGEX",
            multiple=True,
            section=INT8,
            help="Further operators, or nodes by name, whose inputs are quantized: MatMul (attention), Softmax ...",
        ),
        option(
            "--data",
            metavar="PATH",
            section=INT8,
            help="Labeled images to score the result on, as for adaptrt evaluate.  [default: compare predictions only]",
        ),
        option(
            "--data-images",
            metavar="DIR",
            section=INT8,
            help="The folder of their images.  [default: beside the labels]",
        ),
        option("--data-limit", type=int, metavar="N", section=INT8, help="Use at most N of them, spread evenly."),
        option(
            "--max-loss",
            type=float,
            metavar="POINTS",
            section=INT8,
            help="Write nothing if the main score is more than POINTS below the original's.  [default: 1]",
        ),
    )(command)


def build_flags(command: F) -> F:
    """How TensorRT builds."""
    return in_order(
        option(
            "--workspace",
            metavar="SIZE",
            section=ENGINE,
            help="Workspace memory for kernels: 4 (GiB), 512M.  [default: all free memory]",
        ),
        option(
            "--opt-level",
            type=click.IntRange(0, 5),
            metavar="0-5",
            section=ENGINE,
            help="From 0 (fast build) to 5 (long search).  [default: TensorRT's default, 3]",
        ),
        option(
            "--tf32/--no-tf32",
            default=None,
            section=ENGINE,
            help="Allow TF32 for float32 layers.  [default: yes, except with fp32]",
        ),
        option(
            "--timing-cache/--no-timing-cache",
            default=True,
            section=ENGINE,
            help="Reuse kernel timings from earlier builds.  [default: yes]",
        ),
        option(
            "--version-compatible",
            is_flag=True,
            section=ENGINE,
            help="Engine also runs in later TensorRT versions; contains host code.",
        ),
        option(
            "--hardware-compatible",
            type=click.Choice(["ampere+", "same-cc"]),
            section=ENGINE,
            help="Engine also runs on other GPUs.",
        ),
        option(
            "--strip-weights",
            is_flag=True,
            section=ENGINE,
            help="Omit the weights from the plan (TensorRT 10 and later).",
        ),
        option("--refittable", is_flag=True, section=ENGINE, help="Allow weights to be replaced later."),
        option(
            "--plugin-lib",
            "plugin_libs",
            metavar="LIB",
            multiple=True,
            section=ENGINE,
            help="Library of TensorRT plugins; recorded in the manifest.",
        ),
        option(
            "--tactic-sources",
            metavar="A,B",
            section=ENGINE,
            may_be_empty=True,
            help="Allowed sources of kernels, by TensorRT's names; empty for none.",
        ),
        option(
            "--compute-capability",
            metavar="A,B",
            section=ENGINE,
            help="Compute capabilities of a TensorRT-RTX engine: 8.6,12.0.  [default: 8.0, 8.6, 8.9, 12.0, 12.1]",
        ),
        option(
            "--build-timeout",
            type=click.FloatRange(min=1),
            metavar="SECONDS",
            section=ENGINE,
            help="Abort the build after this time.",
        ),
        option("--device", metavar="NAME", section=ENGINE, help="The GPU to build on.  [default: cuda:0]"),
        option(
            "--cache/--no-cache",
            default=True,
            section=ENGINE,
            help="Reuse the result of an identical run.  [default: yes]",
        ),
    )(command)


def precision_from_flags(flags: Mapping[str, Any]) -> str | None:
    """``None`` if no option names one."""
    from adaptrt.errors import UsageError

    asked: list[str] = list(dict.fromkeys([*filter(None, [flags["precision"]]), *switched(flags)]))
    if len(asked) > 1:
        raise UsageError(
            f"Conflicting precisions: {', '.join(asked)}.", hint="Specify one; each engine is a separate file."
        )
    return asked[0] if asked else None


def precisions_from_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The precision of a request with everything that stays in another one; ``--recipe`` adds to the options."""
    from adaptrt.errors import UsageError
    from adaptrt.specs.precisions import FP32
    from adaptrt.specs.recipe import Recipe, read_recipe

    precision = precision_from_flags(flags)
    recipe = Recipe(precision or FP32.name)
    if flags["recipe"] is not None:
        recipe = read_recipe(Path(flags["recipe"]))
        if precision not in (recipe.precision, None):
            raise UsageError(
                f"{flags['recipe']} is a recipe for {recipe.precision}, and --precision is {precision}.",
                hint=f"Omit --precision, or the recipe: each engine has one precision. For {precision}: adaptrt tune FILE --precision {precision}",
            )
    return {
        "precision": recipe.precision,
        **{
            name: (*flags[name], *(one for one in getattr(recipe, name) if one not in flags[name]))
            for name in ("keep_fp32", "keep_fp16", "quantize_also")
        },
    }


def calibration_from_flags(flags: Mapping[str, Any]) -> CalibrationRequest | None:
    """``None`` without ``--calib``; its other options then have nothing to apply to."""
    from adaptrt.specs.calibration import CalibrationRequest

    return _with_source(CalibrationRequest, flags, "calib", ("images", "batch", "method", "cache"), paths=("cache",))


def data_from_flags(flags: Mapping[str, Any]) -> LabeledData | None:
    """``None`` without ``--data``."""
    from adaptrt.errors import UsageError
    from adaptrt.specs.calibration import LabeledData

    if flags["data"] is None and flags["max_loss"] is not None:
        raise UsageError(
            "--max-loss requires labels.",
            hint="Specify labeled images with --data; without labels, only the agreement of predictions can be measured.",
        )
    found = _with_source(LabeledData, flags, "data", ("images", "limit"), paths=("images",))
    return found if found is None or flags["max_loss"] is None else replace(found, max_loss=flags["max_loss"])


def _with_source(
    kind: Callable[..., R], flags: Mapping[str, Any], name: str, details: Sequence[str], paths: Sequence[str]
) -> R | None:
    """``kind`` from ``--name`` and ``--name-detail ...``; a detail without ``--name`` is an error."""
    from adaptrt.errors import UsageError

    given = {detail: flags[f"{name}_{detail}"] for detail in details if flags[f"{name}_{detail}"] is not None}
    if flags[name] is None:
        if given:
            raise UsageError(f"--{name}-{next(iter(given))} needs --{name}.", hint=f"Add --{name} PATH.")
        return None
    return kind(Path(flags[name]), **{key: Path(value) if key in paths else value for key, value in given.items()})


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
        raise UsageError(f"--device {name!r} is not a GPU.", hint="For example: --device cuda:1")
    return int(number)
