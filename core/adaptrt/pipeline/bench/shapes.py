"""The shapes of ``--shape``, for files with a spec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from adaptrt.errors import ShapeError, did_you_mean
from adaptrt.specs.dims import Shape, format_shape

if TYPE_CHECKING:
    from adaptrt.specs import InputSpec, ModelSpec

Shapes = Mapping[str, tuple[Shape, ...]]


def spec_at(spec: ModelSpec, shapes: Shapes, file: str) -> ModelSpec:
    """The spec with these shapes for those of its inputs that are named; a ``ShapeError`` if the file does not take one."""
    return replace(
        spec,
        inputs=tuple(
            replace(tensor, profiles=tuple(_within(tensor, shape, file) for shape in shapes[tensor.name]))
            if tensor.name in shapes
            else tensor
            for tensor in spec.inputs
        ),
    )


def _within(tensor: InputSpec, shape: Shape, file: str) -> Shape:
    """The shape, with the names of the axes of the profile that holds it."""
    for profile in tensor.profiles:
        if len(profile) == len(shape) and all(
            axis.min in known and axis.max in known for axis, known in zip(shape, profile, strict=True)
        ):
            return tuple(replace(axis, name=known.name) for axis, known in zip(shape, profile, strict=True))
    takes = " or ".join(format_shape(tuple(replace(axis, name=None) for axis in shape)) for shape in tensor.profiles)
    raise ShapeError(
        f"--shape {tensor.name}={format_shape(shape)}: {file} supports {takes}.",
        hint="Use a shape within it, or convert the model for this shape.",
    )


def require_known(shapes: Shapes, inputs: Sequence[str], files: Sequence[str]) -> None:
    """Reject the name of an input that no file has."""
    for name in shapes:
        if name not in inputs:
            who = f"{files[0]} has no" if len(files) == 1 else "None of the files has an"
            raise ShapeError(f"--shape {name}: {who} input {name!r}.", hint=did_you_mean(name, list(inputs)))
