"""One axis of a tensor, and the shapes made of axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from adaptrt.errors import ShapeError
from adaptrt.field_types import require_field_types


@dataclass(frozen=True, slots=True)
class Dim:
    """The sizes one axis may take, and the one to optimize for (a TensorRT profile's min, opt and max).

    Axes with the same ``name`` always have the same size; a fixed axis does not need a name.
    """

    min: int
    opt: int
    max: int
    name: str | None = None

    def __post_init__(self) -> None:
        require_field_types(self)
        if self.min < 1:
            raise ShapeError(f"Axis size must be at least 1; got {self.min}.", hint="Use sizes of 1 or more.")
        if not self.min <= self.opt <= self.max:
            raise ShapeError(
                f"min {self.min}, opt {self.opt}, max {self.max} are not in ascending order.",
                hint="They must satisfy min <= opt <= max: {}, {}, {}.".format(*sorted((self.min, self.opt, self.max))),
            )

    @classmethod
    def fixed(cls, size: int) -> Dim:
        return cls(size, size, size)

    @property
    def dynamic(self) -> bool:
        return self.min != self.max

    def __contains__(self, size: int) -> bool:
        return self.min <= size <= self.max

    def __str__(self) -> str:
        """The axis in shape syntax: ``8``, ``1..16@8``, ``batch:1..16@8``."""
        size = f"{self.min}..{self.max}@{self.opt}" if self.dynamic else str(self.opt)
        return f"{self.name}:{size}" if self.name and self.dynamic else size


Shape = tuple[Dim, ...]


def union(shapes: Sequence[Shape]) -> Shape:
    """The axes that cover every shape; all must have the same number of axes. Opt is the first shape's."""
    if len({len(shape) for shape in shapes}) != 1:
        raise ShapeError(
            f"Profiles of one input differ in their number of axes: {', '.join(map(format_shape, shapes))}.",
            hint="Specify the same number of axes in each profile.",
        )
    return tuple(
        replace(
            axes[0],
            min=min(axis.min for axis in axes),
            max=max(axis.max for axis in axes),
            name=next((axis.name for axis in axes if axis.name), None),
        )
        for axes in zip(*shapes, strict=True)
    )


def format_shape(shape: Shape) -> str:
    """A shape in shape syntax: ``1..16@8x3x640x640``."""
    return "x".join(map(str, shape))
