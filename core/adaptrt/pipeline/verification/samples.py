"""The samples that every link is checked on: shapes and batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

from adaptrt.errors import ModelError
from adaptrt.specs import Dim, InputSpec, ModelSpec, Shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

Shapes = Mapping[str, tuple[int, ...]]


@dataclass
class Sample:
    """Inputs and the reference's outputs; ``again`` runs the reference on other inputs."""

    inputs: Mapping[str, NDArray[Any]]
    reference: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    again: Callable[[Mapping[str, NDArray[Any]]], Mapping[str, NDArray[Any]]] | None = None


def require_numbers(outputs: Mapping[str, NDArray[Any]]) -> None:
    """Reject an output without any finite number: it cannot be compared meaningfully."""
    import numpy as np

    for name, array in outputs.items():
        if array.size and array.dtype.kind in "fc" and not np.isfinite(array).any():
            raise ModelError(
                f"The model itself returns only NaN or infinity in output {name!r}.",
                hint="Its weights are damaged, or it overflows: check it in the framework.",
            )


def trace_shapes(spec: ModelSpec) -> Shapes:
    """Shapes for the trace, by input."""
    return spec.trace_shapes


def sample_shapes(spec: ModelSpec) -> list[Shapes]:
    """Shapes to compare at, with the smallest batch: opt of each profile, then the corners of its other axes.

    The profile with the largest batches comes first. One corner mixes large and small, since square images do not
    distinguish height from width.
    """
    count = max(len(tensor.profiles) for tensor in spec.inputs)
    found: list[Shapes] = []
    for profile in sorted(range(count), key=lambda profile: -_batch_axis(spec, profile).max):
        large = _alternating(spec, profile)
        for corner in ("opt", "min", "max", "mixed"):
            shapes = {tensor.name: _sizes(spec, tensor, profile, corner, large) for tensor in spec.inputs}
            if shapes not in found:
                found.append(shapes)
    return found


def batch_shapes(spec: ModelSpec) -> Shapes:
    """The first shapes with a larger batch: its opt, at least two."""
    smallest = sample_shapes(spec)[0]
    axis = batch_axis(spec)
    size = max(axis.opt, min(axis.min + 1, axis.max))
    return {
        tensor.name: tuple(
            size if spec.is_batch(position, dim) else number
            for position, (number, dim) in enumerate(zip(smallest[tensor.name], _shape(tensor, 0), strict=True))
        )
        for tensor in spec.inputs
    }


def batch_axis(spec: ModelSpec) -> Dim:
    """The batch axis of the profile with the largest batches: batches are tried at its shapes."""
    profiles = range(len(spec.inputs[0].profiles)) if spec.inputs else range(1)
    return max((_batch_axis(spec, profile) for profile in profiles), key=lambda axis: axis.max)


def batch_sizes(spec: ModelSpec) -> list[int]:
    """Batches beyond the smallest to try for invariance: the next two, then opt and max."""
    axis = batch_axis(spec)
    return sorted({size for size in (axis.min + 1, axis.min + 2, axis.opt, axis.max) if axis.min < size <= axis.max})


def _batch_axis(spec: ModelSpec, profile: int) -> Dim:
    shape = _shape(spec.inputs[0], profile) if spec.inputs else ()
    return shape[0] if shape else Dim.fixed(1)


def _shape(tensor: InputSpec, profile: int) -> Shape:
    return tensor.profiles[min(profile, len(tensor.profiles) - 1)]


def _alternating(spec: ModelSpec, profile: int) -> set[str]:
    """Every second dynamic axis after the batch; axes of the same name are treated alike."""
    names = [
        _axis_key(tensor, axis, dim)
        for tensor in spec.inputs
        for axis, dim in enumerate(_shape(tensor, profile))
        if dim.dynamic and not spec.is_batch(axis, dim)
    ]
    return set(list(dict.fromkeys(names))[::2])


def _axis_key(tensor: InputSpec, axis: int, dim: Dim) -> str:
    return dim.name or f"{tensor.name}:{axis}"


def _sizes(spec: ModelSpec, tensor: InputSpec, profile: int, corner: str, large: set[str]) -> tuple[int, ...]:
    def size(axis: int, dim: Dim) -> int:
        if spec.is_batch(axis, dim):
            return dim.min
        if corner == "mixed":
            return dim.max if _axis_key(tensor, axis, dim) in large else dim.min
        return int(getattr(dim, corner))

    return tuple(size(axis, dim) for axis, dim in enumerate(_shape(tensor, profile)))


def numbered(shapes: list[Shapes], count: int) -> Iterator[tuple[int, Shapes]]:
    """Seeds and shapes: ``count`` samples at the first shapes, one at each of the others."""
    yield from product(range(count), shapes[:1])
    yield from enumerate(shapes[1:], start=count)
