"""Optimization profiles out of the spec, and which shapes they allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from adaptrt.errors import BuildError, ShapeError
from adaptrt.specs import InputSpec, ModelSpec, Shape, format_shape

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Profile:
    """The shapes that each input may take, together."""

    index: int
    shapes: Mapping[str, Shape]

    def sizes(self, name: str) -> tuple[Sizes, Sizes, Sizes]:
        """min, opt and max of an input."""
        shape = self.shapes[name]
        return tuple(dim.min for dim in shape), tuple(dim.opt for dim in shape), tuple(dim.max for dim in shape)

    def allows(self, shapes: Mapping[str, Sizes]) -> bool:
        return all(_fits(self.shapes[name], sizes) for name, sizes in shapes.items() if name in self.shapes)

    def volume(self) -> int:
        """Elements of all inputs at max: the smaller, the tighter the profile."""
        total = 0
        for shape in self.shapes.values():
            elements = 1
            for dim in shape:
                elements *= dim.max
            total += elements
        return total

    def __str__(self) -> str:
        return f"profile {self.index}: " + ", ".join(
            f"{name}={format_shape(shape)}" for name, shape in self.shapes.items()
        )


def profiles_of(inputs: Sequence[InputSpec]) -> list[Profile]:
    """One profile for each of the inputs' shapes; an input with a single shape has it in all of them."""
    count = max((len(tensor.profiles) for tensor in inputs), default=0)
    odd = next((tensor for tensor in inputs if len(tensor.profiles) not in (1, count)), None)
    if odd is not None:
        raise ShapeError(
            f"Input {odd.name!r} has {len(odd.profiles)} profiles where another input has {count}.",
            hint="Give every input one shape, or as many as the others.",
        )
    return [
        Profile(
            index,
            {tensor.name: tensor.profiles[index if len(tensor.profiles) > 1 else 0] for tensor in inputs},
        )
        for index in range(count)
    ]


def choose_profile(profiles: Sequence[Profile], shapes: Mapping[str, Sizes]) -> Profile:
    """The tightest profile that allows these shapes; else a ``ShapeError`` with the nearest legal shape."""
    fitting = [profile for profile in profiles if profile.allows(shapes)]
    if fitting:
        return min(fitting, key=Profile.volume)
    raise _nothing_fits(profiles, shapes)


def nearest_shape(shape: Shape, sizes: Sizes) -> Sizes:
    """The legal sizes next to these."""
    return tuple(min(max(size, dim.min), dim.max) for dim, size in zip(shape, sizes, strict=True))


def _fits(shape: Shape, sizes: Sizes) -> bool:
    return len(shape) == len(sizes) and all(size in dim for dim, size in zip(shape, sizes, strict=True))


def _nothing_fits(profiles: Sequence[Profile], shapes: Mapping[str, Sizes]) -> ShapeError:
    def distance(profile: Profile, name: str, sizes: Sizes) -> int:
        return sum(
            abs(legal - size) for legal, size in zip(nearest_shape(profile.shapes[name], sizes), sizes, strict=True)
        )

    for name, sizes in shapes.items():
        wrong = [profile for profile in profiles if name in profile.shapes]
        if any(_fits(profile.shapes[name], sizes) for profile in wrong) or not wrong:
            continue
        given = "x".join(map(str, sizes))
        same_rank = [profile for profile in wrong if len(profile.shapes[name]) == len(sizes)]
        if not same_rank:
            return ShapeError(
                f"Input {name!r}: {given} has {len(sizes)} axes, the engine takes {format_shape(wrong[0].shapes[name])}."
            )
        closest = min(same_rank, key=lambda profile: distance(profile, name, sizes))
        legal = "x".join(map(str, nearest_shape(closest.shapes[name], sizes)))
        known = "; ".join(f"profile {profile.index}: {format_shape(profile.shapes[name])}" for profile in same_rank)
        return ShapeError(
            f"Input {name!r}: {given} is outside every profile of this engine ({known}).",
            hint=f"The nearest legal shape is {legal}, in profile {closest.index}; or build with another --shape.",
        )
    known = "; ".join(map(str, profiles))
    given = ", ".join(f"{name}={'x'.join(map(str, sizes))}" for name, sizes in shapes.items())
    return ShapeError(
        f"No single profile allows {given} together ({known}).", hint="Build with a profile that holds them all."
    )


def fit_profiles(spec: ModelSpec, network: Mapping[str, Sizes]) -> list[Profile]:
    """The profiles, held against the inputs of the parsed network (-1: dynamic); what does not fit is an error."""
    for name in network:
        spec_input = next((tensor for tensor in spec.inputs if tensor.name == name), None)
        if spec_input is None:
            raise BuildError(
                f"The graph has an input {name!r} that no shape is known for.",
                hint=f"Give it: --shape {name}={'x'.join('1' if size < 0 else str(size) for size in network[name])}",
            )
    profiles = profiles_of([tensor for tensor in spec.inputs if tensor.name in network])
    for profile in profiles:
        for name, shape in profile.shapes.items():
            _check(profile, name, shape, network[name])
    return profiles


def _check(profile: Profile, name: str, shape: Shape, sizes: Sizes) -> None:
    wanted = format_shape(shape)
    if len(shape) != len(sizes):
        raise ShapeError(
            f"Profile {profile.index}, input {name!r}: {wanted} has {len(shape)} axes, the graph has {len(sizes)}.",
            hint=f"The graph takes {_graph_shape(sizes)}.",
        )
    for axis, (dim, size) in enumerate(zip(shape, sizes, strict=True)):
        if size >= 0 and (dim.dynamic or dim.opt != size):
            nearest = format_shape(
                tuple(
                    replace(dim, min=size, opt=size, max=size) if size >= 0 else dim
                    for dim, size in zip(shape, sizes, strict=True)
                )
            )
            raise ShapeError(
                f"Profile {profile.index}, input {name!r}: axis {axis} is fixed at {size} in the graph, not {dim}.",
                hint=f"Use {name}={nearest}, or make the axis dynamic when converting"
                + (" (--set-dynamic-batch for the first axis)." if axis == 0 else "."),
            )


def _graph_shape(sizes: Sizes) -> str:
    return "x".join("?" if size < 0 else str(size) for size in sizes)
