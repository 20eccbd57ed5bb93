"""Optimization profiles from the spec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from adaptrt.errors import BuildError, ShapeError
from adaptrt.onnxfile.shapes import Sizes, require_shape
from adaptrt.specs import InputSpec, ModelSpec, Shape


@dataclass(frozen=True)
class Profile:
    """The shape ranges of all inputs in one profile."""

    index: int
    shapes: Mapping[str, Shape]

    def sizes(self, name: str) -> tuple[Sizes, Sizes, Sizes]:
        """min, opt and max of an input."""
        shape = self.shapes[name]
        return tuple(dim.min for dim in shape), tuple(dim.opt for dim in shape), tuple(dim.max for dim in shape)


def profiles_of(inputs: Sequence[InputSpec]) -> list[Profile]:
    """One profile per shape of the inputs; an input with a single shape uses it in every profile."""
    count = max((len(tensor.profiles) for tensor in inputs), default=0)
    odd = next((tensor for tensor in inputs if len(tensor.profiles) not in (1, count)), None)
    if odd is not None:
        raise ShapeError(
            f"Input {odd.name!r} has {len(odd.profiles)} profiles, but another input has {count}.",
            hint="Specify one shape for every input, or the same number of shapes for all.",
        )
    return [
        Profile(
            index,
            {tensor.name: tensor.profiles[index if len(tensor.profiles) > 1 else 0] for tensor in inputs},
        )
        for index in range(count)
    ]


def fit_profiles(spec: ModelSpec, network: Mapping[str, Sizes]) -> list[Profile]:
    """The profiles, checked against the inputs of the parsed network (-1: dynamic); a mismatch is an error."""
    for name in network:
        spec_input = next((tensor for tensor in spec.inputs if tensor.name == name), None)
        if spec_input is None:
            raise BuildError(
                f"The shape of graph input {name!r} is unknown.",
                hint=f"Specify it: --shape {name}={'x'.join('1' if size < 0 else str(size) for size in network[name])}",
            )
    profiles = profiles_of([tensor for tensor in spec.inputs if tensor.name in network])
    for profile in profiles:
        for name, shape in profile.shapes.items():
            require_shape(f"Profile {profile.index}, input {name!r}", name, shape, network[name])
    return profiles
