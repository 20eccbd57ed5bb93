"""Selects the optimization profile for a set of shapes, or raises an error with the nearest valid shapes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from adaptrt.errors import ShapeError

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class ShapeRange:
    """The shapes that one profile allows for one input."""

    min: Sizes
    opt: Sizes
    max: Sizes

    def __contains__(self, shape: Sizes) -> bool:
        return len(shape) == len(self.min) and all(
            low <= size <= high for low, size, high in zip(self.min, shape, self.max, strict=True)
        )

    def nearest(self, shape: Sizes) -> Sizes:
        return tuple(min(max(size, low), high) for low, size, high in zip(self.min, shape, self.max, strict=True))

    def __str__(self) -> str:
        return "x".join(
            str(high) if low == high else f"{low}..{high}" for low, high in zip(self.min, self.max, strict=True)
        )


Profile = Mapping[str, ShapeRange]
Shapes = Mapping[str, Sizes]


def choose_profile(profiles: Sequence[Profile], shapes: Shapes) -> int:
    """The tightest profile that accepts all these shapes: the smallest maximum, then the nearest opt.

    A ``ShapeError`` names the nearest valid shape if there is none.
    """
    fitting = [
        index
        for index, profile in enumerate(profiles)
        if all(shapes[name] in allowed for name, allowed in profile.items())
    ]
    if not fitting:
        raise _no_profile(profiles, shapes)
    return min(fitting, key=lambda index: _looseness(profiles[index], shapes))


def _looseness(profile: Profile, shapes: Shapes) -> tuple[int, float]:
    largest = sum(math.prod(allowed.max) for allowed in profile.values())
    return largest, sum(_distance(allowed.opt, shapes[name]) for name, allowed in profile.items())


def _distance(first: Sizes, second: Sizes) -> float:
    return sum(abs(math.log(max(a, 1) / max(b, 1))) for a, b in zip(first, second, strict=True))


def _no_profile(profiles: Sequence[Profile], shapes: Shapes) -> ShapeError:
    for name, shape in shapes.items():
        axes = {len(profile[name].min) for profile in profiles}
        if len(shape) not in axes:
            return ShapeError(
                f"Input {name!r} has {len(shape)} axes, {format_sizes(shape)}; the engine expects {axes.pop()}.",
                hint=f"Pass a shape in {_ranges(profiles, name)}.",
            )

    def total_distance(profile: Profile) -> float:
        return sum(_distance(allowed.nearest(shapes[name]), shapes[name]) for name, allowed in profile.items())

    best = min(profiles, key=total_distance)
    wrong = [name for name, allowed in best.items() if shapes[name] not in allowed]
    what = ", ".join(f"{name} {format_sizes(shapes[name])}" for name in wrong)
    nearest = ", ".join(f"{name} {format_sizes(best[name].nearest(shapes[name]))}" for name in wrong)
    takes = "; ".join(f"{name} {_ranges(profiles, name)}" for name in wrong)
    return ShapeError(
        f"The engine was not built for {what}; the nearest supported shape is {nearest}.",
        hint=f"It accepts {takes}. Build it for other shapes with --batch, --imgsz or --shape.",
    )


def _ranges(profiles: Sequence[Profile], name: str) -> str:
    return " or ".join(dict.fromkeys(str(profile[name]) for profile in profiles))


def format_sizes(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "(a scalar)"
