"""The flags of ``convert`` and ``build`` as a ``Request``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.cli.adopt import adoption_of
from adaptrt.cli.engine_flags import (
    build_from_flags,
    calibration_from_flags,
    data_from_flags,
    precisions_from_flags,
)
from adaptrt.errors import ShapeError, UsageError
from adaptrt.options import parse_pairs
from adaptrt.request import BuildRequest, NmsRequest, Request, ShapeRequest
from adaptrt.specs import parse_batch, parse_dynamic, parse_imgsz, parse_min_opt_max, parse_shapes

if TYPE_CHECKING:
    from adaptrt.specs import Shape


def request_from_flags(flags: Mapping[str, Any], *, command: str, verbose: int = 0) -> Request:
    """``flags`` are the parameters of the command by name; a ``UsageError`` names invalid values."""
    return Request(
        adapter=flags["adapter"],
        weights=_path(flags["weights"]),
        input_names=_names(flags["input_names"], "--input-names"),
        output_names=_names(flags["output_names"], "--output-names"),
        opset=flags["opset"],
        exporter=flags["exporter"],
        simplify=flags["simplify"],
        test_image=_path(flags["test_image"]),
        options=parse_pairs(flags["pairs"]),
        nms=nms_from_flags(flags),
        embed_preprocess=flags["embed_preprocess"],
        trust_checkpoint=flags["trust_checkpoint"],
        command=command,
        verbose=verbose,
        **_common(flags),
    )


def nms_from_flags(flags: Mapping[str, Any]) -> NmsRequest | None:
    """``None`` without ``--nms``; the other options then have nothing to apply to."""
    given = {
        name: flags[f"nms_{name}"]
        for name in ("rounds", "candidates", "schema", "multi_label")
        if flags[f"nms_{name}"] is not None and flags[f"nms_{name}"] is not False
    }
    if flags["nms"] is None:
        if given:
            name = next(iter(given)).replace("_", "-")
            raise UsageError(f"--nms-{name} requires --nms.", hint="Add --nms after SOURCE.")
        return None
    if flags["nms"] != "cluster" and "rounds" in given:
        raise UsageError(f"--nms-rounds does not apply to --nms {flags['nms']}.", hint="Omit --nms-rounds.")
    return NmsRequest(flags["nms"], **given)


def build_request_from_flags(flags: Mapping[str, Any], *, command: str, verbose: int = 0) -> BuildRequest:
    """The same for ``build``."""
    return BuildRequest(
        set_dynamic_batch=flags["set_dynamic_batch"],
        adoption=adoption_of(flags["decoder"], None, flags["names"]),
        command=command,
        verbose=verbose,
        **_common(flags),
    )


def _common(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of both, from the flags of both; ``build`` has no ``--dynamic``."""
    dynamic = flags.get("dynamic")
    return {
        "source": flags["source"],
        "output": _path(flags["output"]),
        "shapes": ShapeRequest(
            imgsz=parse_imgsz(flags["imgsz"]) if flags["imgsz"] is not None else None,
            batch=parse_batch(flags["batch"]) if flags["batch"] is not None else None,
            dynamic=parse_dynamic(dynamic) if dynamic is not None else None,
            shapes=_shapes(flags),
        ),
        "verify": flags["verify"],
        "require": flags["require"] or "",
        "to": tuple(word.strip() for word in (flags["to"] or "").split(",") if word.strip()),
        "target": flags["target"],
        **precisions_from_flags(flags),
        "build": build_from_flags(flags),
        "calibration": calibration_from_flags(flags),
        "data": data_from_flags(flags),
        "cache": flags["cache"],
        "diagnose": flags["diagnose"],
        "image": _path(flags["image"]),
        "ort_custom_ops": tuple(map(Path, flags["ort_custom_ops"])),
        "plugins_file": _path(flags["plugins_file"]),
    }


def _shapes(flags: Mapping[str, Any]) -> dict[str, tuple[Shape, ...]]:
    shapes = parse_shapes(flags["shape"])
    sides = parse_min_opt_max(flags["min_shape"], flags["opt_shape"], flags["max_shape"])
    for name in sides:
        if name in shapes:
            raise ShapeError(
                f"Input {name!r} has a --shape as well as a --min-shape, --opt-shape or --max-shape.",
                hint="Use only one of the two forms for an input.",
            )
    return {**shapes, **sides}


def _names(text: str | None, flag: str) -> tuple[str, ...]:
    if text is None:
        return ()
    names = tuple(name.strip() for name in text.split(","))
    if not all(names) or len(set(names)) < len(names):
        raise UsageError(
            f"{flag} {text!r} contains an empty or repeated name.", hint=f"For example: {flag} images,sizes"
        )
    return names


def _path(text: str | None) -> Path | None:
    return Path(text) if text is not None else None
