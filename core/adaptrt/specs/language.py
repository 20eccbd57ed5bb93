"""The shape language: ``1..16@8x3x640x640``, ``1:8:16``, ``800x1216``, ``images:1x3x640x640``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from adaptrt.errors import ShapeError
from adaptrt.specs.dims import Dim, Shape

_AXIS = re.compile(r"(?:(?P<name>[A-Za-z_]\w*):)?(?P<min>\d{1,9})(?:\.\.(?P<max>\d{1,9})(?:@(?P<opt>\d{1,9}))?)?")
_EXAMPLE = "For example: images=1..16@8x3x640x640 (min..max@opt)"


def parse_shape(text: str) -> Shape:
    """``1..16@8x3x640x640`` to axes; ``B:1..8`` names one. Without ``@opt`` a range is optimized for its max.

    Commas instead of ``x`` and surrounding brackets are accepted.
    """
    rest = text.strip().removeprefix("[").removesuffix("]").replace(" ", "")
    axes = []
    while True:
        match = _AXIS.match(rest)
        if match is None:
            raise ShapeError(f"Shape {text!r}: cannot read {rest!r}.", hint=_EXAMPLE)
        low = int(match["min"])
        high = int(match["max"] or low)
        opt = int(match["opt"] or high)
        try:
            axes.append(Dim(low, opt, high, match["name"]))
        except ShapeError as error:
            raise ShapeError(f"Shape {text!r}: {error.message}", hint=error.hint) from None
        rest = rest[match.end() :]
        if not rest:
            return tuple(axes)
        if rest[0] not in "x,":
            raise ShapeError(f"Shape {text!r}: cannot read {rest!r}.", hint=_EXAMPLE)
        rest = rest[1:]


def parse_shapes(texts: Iterable[str]) -> dict[str, tuple[Shape, ...]]:
    """``images=1..16x3x640x640`` for each ``--shape``; repeating an input adds a profile."""
    shapes: dict[str, tuple[Shape, ...]] = {}
    for text in texts:
        name, equals, shape = text.partition("=")
        if not equals or not name.strip():
            raise ShapeError(f"--shape {text!r} does not name its input.", hint=_EXAMPLE)
        shapes[name.strip()] = (*shapes.get(name.strip(), ()), parse_shape(shape))
    return shapes


def parse_min_opt_max(
    minimum: Iterable[str], opt: Iterable[str], maximum: Iterable[str]
) -> dict[str, tuple[Shape, ...]]:
    """``--min-shape``, ``--opt-shape``, ``--max-shape``, each ``images:1x3x640x640``; repeated for more profiles.

    A missing one takes the values of the closest one given.
    """
    sides = [_named_shapes(texts, flag) for texts, flag in ((minimum, "min"), (opt, "opt"), (maximum, "max"))]
    names = list(dict.fromkeys(name for side in sides for name in side))
    shapes: dict[str, tuple[Shape, ...]] = {}
    for name in names:
        given = [side.get(name, []) for side in sides]
        count = max(map(len, given))
        if any(len(side) not in (0, count) for side in given):
            raise ShapeError(
                f"Input {name!r} has {len(given[0])} --min-shape, {len(given[1])} --opt-shape, {len(given[2])} --max-shape.",
                hint="Repeat each the same number of times, once per profile.",
            )
        low, middle, high = given
        low, high = low or middle or high, high or middle or low
        middle = middle or high
        profiles = []
        for sizes in zip(low, middle, high, strict=True):
            if len({len(size) for size in sizes}) != 1:
                raise ShapeError(f"Input {name!r}: min, opt and max differ in their number of axes.")
            try:
                profiles.append(tuple(Dim(*axis) for axis in zip(*sizes, strict=True)))
            except ShapeError as error:
                raise ShapeError(f"Input {name!r}: {error.message}", hint=error.hint) from None
        shapes[name] = tuple(profiles)
    return shapes


def _named_shapes(texts: Iterable[str], flag: str) -> dict[str, list[list[int]]]:
    shapes: dict[str, list[list[int]]] = {}
    for text in texts:
        name, colon, shape = text.partition(":")
        if not colon or not name.strip():
            raise ShapeError(
                f"--{flag}-shape {text!r} does not name its input.", hint="For example: images:1x3x640x640"
            )
        axes = parse_shape(shape)
        if any(axis.dynamic for axis in axes):
            raise ShapeError(f"--{flag}-shape {text!r} contains a range.", hint="Use plain sizes, or --shape.")
        shapes.setdefault(name.strip(), []).append([axis.opt for axis in axes])
    return shapes


def parse_batch(text: str) -> Dim:
    """``4``, ``1:16`` (min:max) or ``1:8:16`` (min:opt:max); ``1..16@8`` too."""
    if ".." in text:
        axes = parse_shape(text)
        if len(axes) == 1:
            return replace(axes[0], name=axes[0].name or "batch")
    parts = text.split(":")
    if not all(re.fullmatch(r"\s*\d{1,9}\s*", part) for part in parts) or len(parts) > 3:
        raise ShapeError(f"Batch {text!r} is invalid.", hint="For example: --batch 4, or --batch 1:8:16 (min:opt:max)")
    sizes = [int(part) for part in parts]
    try:
        return Dim(sizes[0], sizes[len(sizes) // 2], sizes[-1], "batch")
    except ShapeError as error:
        hint = (
            "For example: --batch 4, or --batch 1:8:16 (min:opt:max)"
            if min(sizes) < 1
            else f"Smallest first: --batch {':'.join(map(str, sorted(sizes)))}"
        )
        raise ShapeError(f"Batch {text!r}: {error.message}", hint=hint) from None


def parse_imgsz(text: str) -> tuple[int, int]:
    """``640`` or ``800x1216``: height x width, pixels."""
    parts = re.split(r"[x,]", text.strip())
    if not all(re.fullmatch(r"\s*\d{1,9}\s*", part) for part in parts) or len(parts) > 2 or not all(map(int, parts)):
        raise ShapeError(
            f"Image size {text!r} is invalid.",
            hint="For example: --imgsz 640, or --imgsz 800x1216 (height x width)",
        )
    return int(parts[0]), int(parts[-1])


def parse_dynamic(text: str) -> frozenset[str]:
    """``batch``, ``hw`` or ``batch,hw``; ``none`` for a static graph."""
    names = {name.strip() for name in text.split(",") if name.strip()}
    unknown = names - {"batch", "hw", "none"}
    if unknown or not names or ("none" in names and len(names) > 1):
        raise ShapeError(f"Invalid value for --dynamic: {text!r}.", hint="Use batch, hw, batch,hw or none.")
    return frozenset(names - {"none"})
