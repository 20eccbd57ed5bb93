"""Batch invariance: a sample's result must not depend on what else is in its batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptrt.report import Check
from adaptrt.specs import ModelSpec, Precision
from adaptrt.specs.precisions import FP32
from adaptrt.verify.compare import Comparison, rank_sensitive_groups
from adaptrt.verify.leeway import Leeway, row_of
from adaptrt.verify.tolerances import BATCH_INVARIANCE

if TYPE_CHECKING:
    from adaptrt.specs.tensors import Arrays

    Run = Callable[[Arrays], Arrays]


def batched_inputs(spec: ModelSpec) -> list[str]:
    """The inputs whose first axis is the batch: those that share the first input's dynamic first axis."""
    first = spec.inputs[0].dims[0] if spec.inputs and spec.inputs[0].dims else None
    return [
        tensor.name
        for tensor in spec.inputs
        if tensor.dims and first is not None and (tensor.dims[0].name, tensor.dims[0].max) == (first.name, first.max)
    ]


def outputs_without_batch(samples: Sequence[Arrays], references: Sequence[Arrays], spec: ModelSpec) -> list[str]:
    """Outputs of the reference that do not have one row for each sample: constants, sums over the batch, and outputs of
    data-dependent length, such as the indices of ``nonzero``."""
    batched = batched_inputs(spec)
    if not batched:
        return []
    found: set[str] = set()
    for sample, reference in zip(samples, references, strict=True):
        size = len(sample[batched[0]])
        found |= {name for name, array in reference.items() if not array.ndim or array.shape[0] != size}
    return [output.name for output in spec.outputs if output.name in found]


def stack(samples: Sequence[Arrays], batched: Sequence[str]) -> dict[str, NDArray[Any]]:
    """One batch out of samples; inputs without a batch axis are the first sample's."""
    return {
        name: np.concatenate([sample[name] for sample in samples]) if name in batched else array
        for name, array in samples[0].items()
    }


def split_rows(
    samples: Sequence[Arrays], outputs: Sequence[Arrays], leeways: Sequence[Leeway], spec: ModelSpec
) -> tuple[list[Arrays], list[Arrays], list[Leeway]]:
    """Samples of the smallest batch, their outputs and leeways, row by row; neighbors come from different samples."""
    batched = batched_inputs(spec)
    whole = _whole_outputs(spec)
    size = len(samples[0][batched[0]])
    rows: list[Arrays] = [
        {name: array[position : position + 1] if name in batched else array for name, array in sample.items()}
        for position in range(size)
        for sample in samples
    ]
    alone: list[Arrays] = [
        {name: array if name in whole else row_of(array, position, size) for name, array in given.items()}
        for position in range(size)
        for given in outputs
    ]
    return rows, alone, [leeway.row(position, size) for position in range(size) for leeway in leeways]


class Rows(NamedTuple):
    """Samples of batch 1 and one shape, their outputs and leeways, and the sizes of batches to join them to."""

    samples: Sequence[Arrays]
    alone: Sequence[Arrays]
    sizes: Sequence[int]
    leeways: Sequence[Leeway] = ()


def check_batches(
    run: Run, shapes: Sequence[Rows], spec: ModelSpec, precision: Precision | None = None
) -> tuple[list[Check], int]:
    """Batches of these sizes, samples cycled and in changing positions, each row compared with the sample run alone. Also
    returns how many rows were skipped, since the reference itself is unstable there.

    The outputs in ``shapes`` are from the same ``run`` (rows of the smallest batch where a sample cannot run alone). With
    ``precision`` its tolerance holds: an engine may take other kernels for other batches.
    """
    batched = batched_inputs(spec)
    whole = _whole_outputs(spec)
    comparison = _comparison(spec, precision, shapes[0].alone)
    skipped = 0
    for samples, alone, sizes, leeways in shapes:
        for size in sizes:
            order = [(size + position) % len(samples) for position in range(size)]
            outputs = run(stack([samples[index] for index in order], batched))
            for position, index in enumerate(order):
                row = {
                    name: array if name in whole else row_of(array, position, size) for name, array in outputs.items()
                }
                skipped += not _added(comparison, alone[index], row, leeways[index] if leeways else Leeway())
    return comparison.checks(), skipped


def check_other_items(
    run: Run,
    batches: Sequence[Arrays],
    spec: ModelSpec,
    precision: Precision | None = None,
    leeway: Leeway | None = None,
) -> tuple[list[Check], int]:
    """For a fixed batch: every row stays the same when its other items change. ``leeway`` is that of the first batch. Also
    returns how many rows were skipped, since the reference itself is unstable there.

    Rows are exchanged by the digits of their number in base 2, so that any two of them are separated within twice as many
    runs as there are digits.
    """
    first, second = batches[0], batches[1]
    batched = batched_inputs(spec)
    size = len(first[batched[0]])
    before = run(first)
    comparison = _comparison(spec, precision, [before])
    skipped = 0
    rows = np.arange(size)
    for digit in range(max(1, (size - 1).bit_length())):
        for kept in (0, 1):
            stay = (rows >> digit) & 1 == kept
            if not stay.any():
                continue
            mixed = dict(first)
            for name in batched:
                mixed[name] = np.where(stay.reshape(-1, *[1] * (first[name].ndim - 1)), first[name], second[name])
            after = run(mixed)
            for position in map(int, np.flatnonzero(stay)):
                skipped += not _added(
                    comparison,
                    {name: row_of(array, position, size) for name, array in before.items()},
                    {name: row_of(array, position, size) for name, array in after.items()},
                    (leeway or Leeway()).row(position, size),
                )
    return comparison.checks(), skipped


def _added(comparison: Comparison, alone: Arrays, row: Arrays, leeway: Leeway) -> bool:
    """Add a row, unless it differs only in its ranks and the reference itself does not determine them."""
    sensitive = rank_sensitive_groups(comparison.spec)
    if sensitive:
        failed = comparison.failing(alone, row, leeway)
        if failed and failed <= sensitive and leeway.unstable():
            return False
    comparison.add(alone, row, leeway)
    return True


def _comparison(spec: ModelSpec, precision: Precision | None, usual: Sequence[Arrays]) -> Comparison:
    tolerance = BATCH_INVARIANCE if precision is None else None
    return Comparison(spec, precision or FP32, kind="batch", tolerance=tolerance, usual=usual)


def _whole_outputs(spec: ModelSpec) -> set[str]:
    """Outputs whose first axis is a fixed number in the graph: no row of a dynamic batch, whatever its size."""
    return {output.name for output in spec.outputs if output.dims and isinstance(output.dims[0], int)}
