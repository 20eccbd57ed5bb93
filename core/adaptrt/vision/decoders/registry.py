"""Decoders by name: core's own, then those that distributions declare under ``adaptrt.decoders``."""

from __future__ import annotations

import importlib
from collections import defaultdict
from importlib.metadata import EntryPoint, entry_points

from adaptrt.errors import PluginError, did_you_mean
from adaptrt.predictions import Decoder

GROUP = "adaptrt.decoders"

_OWN = {
    "boxes": "adaptrt.vision.decoders.boxes",
    "classify": "adaptrt.vision.decoders.classify",
    "raw": "adaptrt.vision.decoders.raw",
    "semantic": "adaptrt.vision.decoders.semantic",
    "yolo": "adaptrt.vision.decoders.yolo",
    "yolo_anchor": "adaptrt.vision.decoders.yolo_anchor",
}


def decoder_names() -> list[str]:
    """Every name that ``find_decoder`` knows, sorted."""
    return sorted({*_OWN, *_declared()})


def find_decoder(name: str) -> Decoder:
    """The decoder of this name; a ``PluginError`` if there is none, or more than one distribution claims it."""
    declared = _declared().get(name, {})
    claims = sorted([*declared, "adaptrt"] if name in _OWN else declared)
    if len(claims) > 1:
        raise PluginError(
            f"Decoder {name!r} is claimed by {' and by '.join(claims)}.",
            hint=f"Uninstall one: pip uninstall {next(claim for claim in claims if claim != 'adaptrt')}",
        )
    if not claims:
        close = did_you_mean(name, decoder_names())
        raise PluginError(
            f"There is no decoder {name!r}.",
            hint=f"{close} Or install the package that brings it; for predicting, pip install --no-deps PACKAGE is enough.",
        )
    if name in _OWN:
        decoder: Decoder = importlib.import_module(_OWN[name]).decoder
        return decoder
    return _load(declared[claims[0]], claims[0])


def is_own(name: str) -> bool:
    """Whether it is one of core's."""
    return name in _OWN


def owner_of(name: str) -> str:
    """The distribution that a decoder comes from, with its version."""
    points = _declared().get(name, {})
    return next((f"{owner} {point.dist.version if point.dist else ''}" for owner, point in points.items()), "adaptrt")


def _declared() -> dict[str, dict[str, EntryPoint]]:
    """Name to distribution to entry point; a distribution found twice on the path counts once."""
    found: dict[str, dict[str, EntryPoint]] = defaultdict(dict)
    for point in entry_points(group=GROUP):
        found[point.name].setdefault(point.dist.name if point.dist else "an unknown distribution", point)
    return found


def _load(point: EntryPoint, distribution: str) -> Decoder:
    try:
        decoder = point.load()
    except Exception as error:
        raise PluginError(
            f"Decoder {point.name!r} of {distribution} cannot be loaded: {type(error).__name__}: {error}.",
            hint=f"It is declared as {point.value}.",
        ) from error
    if not isinstance(decoder, Decoder) or decoder.name != point.name:
        raise PluginError(
            f"{point.value} of {distribution} is not a Decoder with the name {point.name!r}.",
            hint="An entry point in adaptrt.decoders names an adaptrt.predictions.Decoder.",
        )
    return decoder
