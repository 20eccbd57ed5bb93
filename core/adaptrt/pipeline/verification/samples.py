"""The samples that every link is checked on: shapes and batches."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING

from adaptrt.errors import ModelError
from adaptrt.specs import Dim, InputSpec, ModelSpec, Shape

if TYPE_CHECKING:
    from adaptrt.specs.tensors import Arrays

Shapes = Mapping[str, tuple[int, ...]]

_SPAN = 256  # how far above its min an odd size of an axis is looked for


@dataclass
class Sample:
    """Inputs and the reference's outputs; ``again`` runs the reference on other inputs, ``rounded`` with weights and inputs
    that are rounded differently (by a seed). These take ``given``: ``inputs`` as the reference has them, which differ if the file
    normalizes images itself (``normalized``)."""

    inputs: Arrays
    reference: Arrays = field(default_factory=dict)
    again: Callable[[Arrays], Arrays] | None = None
    rounded: Callable[[Arrays, int], Arrays] | None = None
    normalized: Arrays | None = None

    @property
    def given(self) -> Arrays:
        return self.inputs if self.normalized is None else self.normalized

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the inputs, by name."""
        return {name: array.shape for name, array in self.inputs.items()}


def require_numbers(outputs: Arrays, seed: int = 0, title: str = "The model") -> None:
    """Reject a reference with NaN, or with an output without any finite number: it cannot be compared meaningfully.

    ``seed`` is that of the sample, ``title`` that of the reference.
    """
    import numpy as np

    for name, array in outputs.items():
        if not array.size or array.dtype.kind not in "fc":
            continue
        if not np.isfinite(array).any():
            raise ModelError(
                f"{title} itself returns only NaN or infinity in output {name!r}.",
                hint="The weights are damaged, or a value overflows. Check the model in its framework.",
            )
        share = float(np.isnan(array).mean())
        if share:
            raise ModelError(
                f"{title} itself returns NaN in output {name!r} ({100 * share:.3g} % of it) on sample {seed}.",
                hint="The weights are damaged, or the model expects values in another range than the samples (set it with --set "
                "ranges.NAME=[low,high] for adapter torch, or with the hook example_inputs of an adapter).",
            )


def trace_shapes(spec: ModelSpec) -> Shapes:
    """Shapes for the trace, by input."""
    return spec.trace_shapes


def sample_shapes(spec: ModelSpec) -> list[Shapes]:
    """Shapes to compare at, with the smallest batch: opt of each profile, then the corners of its other axes.

    The profile with the largest batches comes first. One corner mixes large and small, since square images do not
    distinguish height from width. One has odd sizes, different for each axis, since rounding does not show at even ones.
    """
    count = max(len(tensor.profiles) for tensor in spec.inputs)
    found: list[Shapes] = []
    for profile in sorted(range(count), key=lambda profile: -_batch_axis(spec, profile).max):
        large = _alternating(spec, profile)
        for corner in ("opt", "min", "max", "mixed", "odd"):
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


def batch_range(spec: ModelSpec, shapes: Shapes) -> Dim | None:
    """The batch axis of the profile with the largest batches that allows these sizes of the other axes."""
    count = max(len(tensor.profiles) for tensor in spec.inputs)
    fitting = [
        _batch_axis(spec, profile)
        for profile in range(count)
        if all(
            size in dim
            for tensor in spec.inputs
            for axis, (size, dim) in enumerate(zip(shapes[tensor.name], _shape(tensor, profile), strict=True))
            if not spec.is_batch(axis, dim)
        )
    ]
    return max(fitting, key=lambda axis: axis.max, default=None)


def _batch_axis(spec: ModelSpec, profile: int) -> Dim:
    shape = _shape(spec.inputs[0], profile) if spec.inputs else ()
    return shape[0] if shape else Dim.fixed(1)


def _shape(tensor: InputSpec, profile: int) -> Shape:
    return tensor.profiles[min(profile, len(tensor.profiles) - 1)]


def _alternating(spec: ModelSpec, profile: int) -> set[str]:
    """Every second dynamic axis after the batch; axes of the same name are treated the same."""
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
    strides = _strides(spec)

    def size(axis: int, dim: Dim) -> int:
        if spec.is_batch(axis, dim):
            return dim.min
        if corner == "odd":
            key = _axis_key(tensor, axis, dim)
            return odd_size(dim, strides.get(key, 1), key)
        if corner == "mixed":
            return dim.max if _axis_key(tensor, axis, dim) in large else dim.min
        return int(getattr(dim, corner))

    return tuple(size(axis, dim) for axis, dim in enumerate(_shape(tensor, profile)))


def _strides(spec: ModelSpec) -> dict[str, int]:
    """The stride of the image's axes, which another input may share."""
    if spec.image is None:
        return {}
    tensor = spec.input(spec.image.input)
    return {
        _axis_key(tensor, axis, dim): spec.image.stride
        for shape in tensor.profiles
        for axis, dim in enumerate(shape)
        if axis - len(shape) in spec.image.axes[:2]
    }


def odd_size(dim: Dim, stride: int, key: str) -> int:
    """A size within the axis that is odd: a prime if there is one, in multiples of ``stride``; different for different
    names where there are several. An axis without an odd size keeps its opt."""
    low, high = -(-dim.min // stride), dim.max // stride
    if low >= high:
        return dim.opt
    span = range(low | 1, min(high, low + _SPAN) + 1, 2)
    odd = [number for number in span if _prime(number)] or list(span)
    # the lower half, so that a sample costs no more than the usual one
    odd = odd[: max(1, (len(odd) + 1) // 2)]
    return stride * odd[zlib.crc32(key.encode()) % len(odd)] if odd else dim.opt


def _prime(number: int) -> bool:
    return number > 2 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def numbered(spec: ModelSpec, shapes: list[Shapes], count: int) -> Iterator[tuple[int, Shapes]]:
    """Seeds and shapes: ``count`` samples at the first shapes, one at each of the others; a second one at the last, where no
    two sizes are alike, if it can be in a batch with another."""
    last = batch_range(spec, shapes[-1]) if len(shapes) > 1 else None
    again = shapes[-1:] if last is not None and last.dynamic else []
    yield from product(range(count), shapes[:1])
    yield from enumerate([*shapes[1:], *again], start=count)
