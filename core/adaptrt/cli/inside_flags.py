"""Options of the commands that look inside a model: what it runs on, and how files are opened."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adaptrt.cli.framework import option
from adaptrt.cli.shared_flags import BACKENDS_DEVICE, F, device_flag, in_order, library_flags, plugins_flag

if TYPE_CHECKING:
    from adaptrt.pipeline.layers.request import InputRequest
    from adaptrt.pipeline.reference import Origin
    from adaptrt.specs.backends import OpenOptions

_READ = ("image", "inputs", "onnx", "weights", "plugins_file")  # options that name a file
INPUTS, OPENING, SOURCE = "Inputs", "Opening files", "The source model, for eager"


def input_flags(command: F) -> F:
    """``--image``, ``--inputs``, ``--samples``, ``--seed`` and ``--shape``."""
    return in_order(
        option("--image", metavar="FILE", section=INPUTS, help="A real image, through the preprocessing in the file.  [default: seeded image-like noise]"),
        option("--inputs", metavar="FILE", section=INPUTS, help="Preprocessed inputs: .npz, or JSON of polygraphy run --save-inputs."),
        option("--samples", type=click.IntRange(min=1), default=1, metavar="N", section=INPUTS, help="Number of samples, or of variations of the image.  [default: 1]"),
        option("--seed", type=int, default=0, metavar="N", section=INPUTS, help="Seed of the samples.  [default: 0]"),
        option("--shape", metavar="INPUT=SHAPE", multiple=True, section=INPUTS, help="images=1x3x640x640, for files without a spec, or another size."),
    )(command)  # fmt: skip


def opening_flags(command: F) -> F:
    """``--device``, ``--allow-host-code``, ``--plugin-lib`` and ``--ort-custom-ops``."""
    return in_order(device_flag(OPENING, BACKENDS_DEVICE), library_flags(OPENING))(command)


def origin_flags(command: F) -> F:
    """The options of the source model, for ``eager``, and ``--plugins``."""
    return in_order(
        option("--adapter", metavar="NAME", section=SOURCE, help="The adapter used for the conversion."),
        option("--source", metavar="SOURCE", section=SOURCE, help="The source, as for `convert`."),
        option("--weights", metavar="PATH", section=SOURCE, help="The weights, as for `convert`."),
        option("-s", "--set", "pairs", metavar="KEY=VALUE", multiple=True, section=SOURCE, help="An option of the adapter."),
        option("--trust-checkpoint", is_flag=True, section=SOURCE, help="Let the framework unpickle the checkpoint, which can run code contained in it."),
        plugins_flag(SOURCE),
    )(command)  # fmt: skip


def inputs_from_flags(flags: Mapping[str, Any]) -> InputRequest:
    from adaptrt.pipeline.layers.request import InputRequest
    from adaptrt.pipeline.request_values import shapes_of

    return InputRequest(
        image=Path(flags["image"]) if flags["image"] else None,
        file=Path(flags["inputs"]) if flags["inputs"] else None,
        samples=flags["samples"],
        seed=flags["seed"],
        shapes=shapes_of(flags["shape"]),
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
    given = [*files, *(flags.get(name) for name in _READ)]
    source = flags.get("source") or ""
    given += [source, source.rpartition(":")[0]]  # net.py:build
    given += [value for _, _, value in (pair.partition("=") for pair in flags.get("pairs", ()))]
    return frozenset(Path(one).resolve() for one in given if one and Path(one).is_file())


def names_of(text: str | None) -> tuple[str, ...]:
    """``A,B`` as names."""
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())
