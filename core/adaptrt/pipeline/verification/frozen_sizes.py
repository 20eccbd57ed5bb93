"""Why a graph does not run at other sizes than those of the trace: an operator holds one of these as a constant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from adaptrt.errors import AdaptrtError, VerificationError
from adaptrt.pipeline.links import OTHER_EXPORTER
from adaptrt.specs import ModelSpec

if TYPE_CHECKING:
    from adaptrt.pipeline.verification.samples import Sample
    from adaptrt.specs.tensors import Arrays
    from adaptrt.verify.batch_invariance import Run


def naming_frozen_sizes(run: Run, spec: ModelSpec) -> Run:
    """``run``; if it fails at sizes other than those of the trace, the error's hint names the sizes that the graph requires."""

    def checked(inputs: Arrays) -> Arrays:
        try:
            return run(inputs)
        except Exception as error:
            frozen = frozen_sizes(run, inputs, spec)
            if not frozen:
                raise
            message = error.message if isinstance(error, AdaptrtError) else f"{type(error).__name__}: {error}"
            raise VerificationError(message, hint=hint_of(frozen)) from error

    return checked


def frozen_sizes(run: Run, inputs: Arrays, spec: ModelSpec) -> dict[str, int]:
    """The axes at whose sizes in ``inputs`` the graph fails although it runs at those of the trace, by name, with the size of
    the trace. Empty if it does not run there either."""
    sizes = _sizes(inputs, spec)
    moved = {name for name, (size, other) in sizes.items() if size != other}
    if not moved or not _runs(run, inputs, spec, set()):
        return {}
    found = [name for name in sizes if name in moved and not _runs(run, inputs, spec, {name})]
    return {name: sizes[name][0] for name in found or [name for name in sizes if name in moved]}


def moved_sizes(samples: Sequence[Sample], outputs: Sequence[Arrays], spec: ModelSpec) -> dict[str, int]:
    """The axes of the first sample with outputs of another shape than the reference's, where they differ from the trace."""
    for sample, found in zip(samples, outputs, strict=True):
        if any(name in found and found[name].shape != array.shape for name, array in sample.reference.items()):
            return {name: size for name, (size, other) in _sizes(sample.inputs, spec).items() if size != other}
    return {}


def hint_of(frozen: Mapping[str, int]) -> str:
    named = " and ".join(f"{name} = {size}" for name, size in frozen.items())
    return (
        f"The graph is right only for {named}, as in the example inputs: an operator holds this size as a constant. Possible "
        f"fixes: {OTHER_EXPORTER}a symbolic size in the model's code (-1 in reshape and expand, tensor operations instead of "
        "loops, no int() or len()), or a fixed axis (--batch, --shape)."
    )


def _sizes(inputs: Arrays, spec: ModelSpec) -> dict[str, tuple[int, int]]:
    """For each dynamic axis, by name, its size in the trace and in ``inputs``."""
    trace = spec.trace_shapes
    return {
        tensor.axis_name(axis): (size, inputs[tensor.name].shape[axis])
        for tensor in spec.inputs
        for axis, size in enumerate(trace[tensor.name])
        if tensor.dims[axis].dynamic
    }


def _runs(run: Run, inputs: Arrays, spec: ModelSpec, kept: set[str]) -> bool:
    """Whether the graph runs at the sizes of the trace, but for those of the axes in ``kept``."""
    trace = spec.trace_shapes
    resized = {}
    for tensor in spec.inputs:
        array = inputs[tensor.name]
        shape = tuple(
            array.shape[axis] if tensor.axis_name(axis) in kept else size
            for axis, size in enumerate(trace[tensor.name])
        )
        resized[tensor.name] = np.resize(array, shape)
    try:
        run(resized)
    except Exception:
        return False
    return True
