"""Inputs and outputs of a model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from adaptrt.errors import PluginError, ShapeError
from adaptrt.field_types import require_field_types
from adaptrt.specs.dims import Dim, Shape, union

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Arrays: TypeAlias = Mapping[str, NDArray[Any]]
    """Inputs or outputs by name."""

Unit = Literal["pixels", "scores", "logits", "values"]


@dataclass(frozen=True)
class InputSpec:
    """An input with one shape for each optimization profile (usually one)."""

    name: str
    profiles: tuple[Shape, ...]
    dtype: str = "float32"

    def __post_init__(self) -> None:
        require_field_types(self)
        if not self.profiles:
            raise ShapeError(f"Input {self.name!r} has no shape.")
        union(self.profiles)

    @classmethod
    def image(
        cls, height: int, width: int, *, channels: int = 3, name: str = "images", batch: Dim | None = None
    ) -> InputSpec:
        """A float32 image batch, N x ``channels`` x ``height`` x ``width``; the batch is 1..16 by default."""
        batch = batch or Dim(1, 8, 16, "batch")
        return cls(name, ((batch, Dim.fixed(channels), Dim.fixed(height), Dim.fixed(width)),))

    @cached_property
    def dims(self) -> Shape:
        """The axes over all profiles: what the exported graph must accept."""
        return union(self.profiles)

    def axis_name(self, axis: int) -> str:
        """The symbol of a dynamic axis in the graph; generated from input and position if it has none."""
        return self.dims[axis].name or f"{self.name}_{axis}"


@dataclass(frozen=True)
class Tolerance:
    """The accepted difference: ``|converted - reference| <= atol + rtol * scale`` for every element, with the reason.

    ``scale`` is the largest absolute reference value in the channel of the element.
    """

    atol: float
    rtol: float = 0.0
    reason: str = ""

    def __post_init__(self) -> None:
        require_field_types(self)
        if not all(0 <= limit < math.inf for limit in (self.atol, self.rtol)):
            raise PluginError(
                f"A tolerance must be finite and not negative; got atol {self.atol:g}, rtol {self.rtol:g}.",
                hint="An output that need not agree should not be an output.",
            )


ANY_OTHER = "*"  # a key of OutputGroup.tolerances


@dataclass(frozen=True)
class OutputGroup:
    """The part of an output that has one unit: a slice ``start:stop`` along ``axis``, or all of it.

    ``tolerances`` maps a precision (``fp32``, ``fp16`` ...) to the tolerance of this group, and ``*`` to that of any
    other precision; without either, the default of the unit applies.

    ``rank_sensitive``: the model ranks or selects, so its result can change abruptly if two candidates are nearly equal. A
    sample that fails is then excluded if the reference itself changes by more than the tolerance when its input is
    perturbed by one rounding error.
    """

    name: str
    unit: Unit
    axis: int | None = None
    start: int | None = None
    stop: int | None = None
    tolerances: dict[str, Tolerance] | None = None
    rank_sensitive: bool = False

    def __post_init__(self) -> None:
        require_field_types(self)

    def __new__(cls, *_: object, **fields: object) -> OutputGroup:
        if "jumps" in fields:
            raise PluginError(
                "OutputGroup(jumps=...) is now called rank_sensitive.", hint="Rename it: rank_sensitive=True"
            )
        return super().__new__(cls)


@dataclass(frozen=True)
class OutputSpec:
    """An output; ``dims`` holds numbers and names of symbolic axes, and is empty until the graph is known.

    Without groups, the whole output is one group with unit ``values``.
    """

    name: str
    dims: tuple[int | str, ...] = ()
    dtype: str = "float32"
    groups: tuple[OutputGroup, ...] = ()

    def __post_init__(self) -> None:
        require_field_types(self)
