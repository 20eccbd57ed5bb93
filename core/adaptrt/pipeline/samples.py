"""The samples that every link is checked on: which shapes, which batches, within which time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

from adaptrt.specs import Dim, InputSpec, ModelSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

Shapes = Mapping[str, tuple[int, ...]]


@dataclass
class Sample:
    """Inputs, and what the reference gave for them."""

    inputs: Mapping[str, NDArray[Any]]
    reference: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def trace_shapes(spec: ModelSpec) -> Shapes:
    """Shapes for the trace, by input."""
    return {tensor.name: tensor.trace_shape for tensor in spec.inputs}


def sample_shapes(spec: ModelSpec) -> list[Shapes]:
    """Shapes to compare at, batch as small as may be: opt of each profile, then the corners of its other axes."""
    found: list[Shapes] = []
    for profile in range(max(len(tensor.profiles) for tensor in spec.inputs)):
        for corner in ("opt", "min", "max"):
            shapes = {tensor.name: _sizes(tensor, profile, corner) for tensor in spec.inputs}
            if shapes not in found:
                found.append(shapes)
    return found


def batch_sizes(spec: ModelSpec) -> list[int]:
    """Batches beyond the smallest to try for honesty: 2, 3, then opt and max of the first profile."""
    axis = spec.inputs[0].profiles[0][0] if spec.inputs and spec.inputs[0].profiles[0] else Dim.fixed(1)
    return sorted({size for size in (2, 3, axis.opt, axis.max) if size in axis and size > 1})


def is_batched(spec: ModelSpec) -> bool:
    """Whether samples can run alone and in batches: the first axis starts at 1 and is dynamic."""
    axis = spec.inputs[0].dims[0] if spec.inputs and spec.inputs[0].dims else Dim.fixed(1)
    return axis.dynamic and axis.min == 1


def _sizes(tensor: InputSpec, profile: int, corner: str) -> tuple[int, ...]:
    shape = tensor.profiles[min(profile, len(tensor.profiles) - 1)]
    return tuple(dim.min if axis == 0 else getattr(dim, corner) for axis, dim in enumerate(shape))


def numbered(shapes: list[Shapes], count: int) -> Iterator[tuple[int, Shapes]]:
    """Seeds and shapes: ``count`` samples at the first shapes, one at each of the others."""
    yield from product(range(count), shapes[:1])
    yield from enumerate(shapes[1:], start=count)
