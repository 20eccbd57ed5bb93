"""Options of the commands that look inside a model: what it runs on, and how files are opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from adaptrt.cli.framework import option
from adaptrt.cli.running_flags import known_device

if TYPE_CHECKING:
    from adaptrt.pipeline.layers.request import InputRequest
    from adaptrt.pipeline.reference import Origin
    from adaptrt.specs.backends import OpenOptions

F = TypeVar("F", bound=Callable[..., Any])

INPUTS, OPENING = "Inputs", "Opening files"


def input_flags(command: F) -> F:
    """``--image``, ``--inputs``, ``--samples``, ``--seed`` and ``--shape``."""
    for add in (
        option("--shape", metavar="INPUT=SHAPE", multiple=True, section=INPUTS, help="images=1x3x640x640, for files without a spec, or another size."),
        option("--seed", type=int, default=0, metavar="N", section=INPUTS, help="Seed of the samples.  [default: 0]"),
        option("--samples", type=click.IntRange(min=1), default=1, metavar="N", section=INPUTS, help="Number of samples, or of variations of the image.  [default: 1]"),
        option("--inputs", metavar="FILE", section=INPUTS, help="Preprocessed inputs: .npz, or JSON of polygraphy run --save-inputs."),
        option("--image", metavar="FILE", section=INPUTS, help="A real image, through the preprocessing in the file.  [default: seeded image-like noise]"),
    ):  # fmt: skip
        command = add(command)
    return command


def opening_flags(command: F) -> F:
    """``--device``, ``--allow-host-code``, ``--plugin-lib`` and ``--ort-custom-ops``."""
    for add in (
        option("--ort-custom-ops", metavar="LIB", multiple=True, section=OPENING, help="Library of custom operators for ONNX Runtime."),
        option("--plugin-lib", "plugin_libs", metavar="LIB", multiple=True, section=OPENING, help="Library of TensorRT plugins."),
        option("--allow-host-code", is_flag=True, section=OPENING, help="Load an engine that contains host code."),
        option("--device", metavar="NAME", section=OPENING, callback=known_device, help="cpu or cuda:0, for the files that run there.  [default: that of each backend]"),
    ):  # fmt: skip
        command = add(command)
    return command


def inputs_from_flags(flags: Mapping[str, Any]) -> InputRequest:
    from adaptrt.pipeline.layers.request import InputRequest
    from adaptrt.request import ShapeRequest
    from adaptrt.specs import parse_shapes

    return InputRequest(
        image=Path(flags["image"]) if flags["image"] else None,
        file=Path(flags["inputs"]) if flags["inputs"] else None,
        samples=flags["samples"],
        seed=flags["seed"],
        shapes=ShapeRequest(shapes=parse_shapes(flags["shape"])),
    )


def opening_from_flags(flags: Mapping[str, Any]) -> OpenOptions:
    from adaptrt.specs.backends import OpenOptions
    from adaptrt.store.model_files import require_libraries

    require_libraries("--plugin-lib", flags["plugin_libs"])
    require_libraries("--ort-custom-ops", flags["ort_custom_ops"])
    return OpenOptions(
        device=flags["device"],
        custom_ops=tuple(map(Path, flags["ort_custom_ops"])),
        plugin_libs=tuple(map(Path, flags["plugin_libs"])),
        allow_host_code=flags["allow_host_code"],
    )


def origin_from_flags(flags: Mapping[str, Any]) -> Origin | None:
    """The original model, for ``eager``, if ``--adapter`` and ``--source`` name it."""
    from adaptrt.options import parse_pairs
    from adaptrt.pipeline.reference import Origin

    weights = Path(flags["weights"]) if flags["weights"] else None
    options = parse_pairs(flags["pairs"])
    return Origin.named(flags["adapter"], flags["source"], weights, options, flags["trust_checkpoint"])


def inputs_of(flags: Mapping[str, Any], *files: str | Path | None) -> frozenset[Path]:
    """The files that a command reads: ``files``, and those of its options. No output replaces them."""
    given = (*files, flags["image"], flags["inputs"], flags["onnx"])
    return frozenset(Path(one).resolve() for one in given if one)


def names_of(text: str | None) -> tuple[str, ...]:
    """``A,B`` as names."""
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())
