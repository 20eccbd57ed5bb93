"""Batches at the sizes of other axes: where they are unlike, or large, a graph may join samples in another way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from adaptrt.pipeline.verification.samples import Sample, batch_range
from adaptrt.pipeline.verification.stability import leeway_of
from adaptrt.quantities import counted
from adaptrt.specs import ModelSpec
from adaptrt.verify.batch_invariance import Rows, batched_inputs, split_rows

if TYPE_CHECKING:
    from adaptrt.specs import Precision
    from adaptrt.specs.tensors import Arrays

_LARGER = 2  # times the elements of the largest batch so far, for the largest batch at other sizes: memory is limited


def other_shapes(
    samples: Sequence[Sample],
    alone: Sequence[Any],
    spec: ModelSpec,
    precision: Precision,
    largest: int,
    *,
    seconds: float,
    budget: float,
) -> tuple[list[Rows], str]:
    """The samples of other shapes than the first, with a batch that is one larger than the smallest, and the largest one if
    it is not much larger than what was tried; and a note on what was skipped.

    ``largest``: the largest batch at the first shapes. ``seconds``: of one row there; ``budget``: what all of this may take.
    """
    groups: dict[tuple[Any, ...], list[int]] = {}
    for index, sample in enumerate(samples):
        groups.setdefault(_shapes(sample.inputs, spec), []).append(index)
    first, *others = groups.values()
    usual = _row_elements(samples[first[0]].inputs, spec)
    found, spent, left = [], 0.0, 0
    for group in others:
        inputs = samples[group[0]].inputs
        axis = batch_range(spec, samples[group[0]].shapes)
        if axis is None or not axis.dynamic:
            continue
        row, sizes = _row_elements(inputs, spec), []
        for size in sorted({axis.min + 1, axis.max}):
            if size > axis.min + 1 and size * row > _LARGER * max(largest, 2) * usual:
                continue
            spent += size * seconds * row / usual
            if spent > budget:
                left += 1
                break
            sizes.append(size)
        if not sizes:
            continue
        # a batch has one of the inputs that it shares
        shared = len(batched_inputs(spec)) < len(spec.inputs)
        chosen = [index for index in group if samples[index].shapes == samples[group[0]].shapes][
            : 1 if shared else None
        ]
        leeways = [leeway_of(samples[index], spec, precision) for index in chosen]
        rows = split_rows(
            [samples[index].inputs for index in chosen], [alone[index] for index in chosen], leeways, spec
        )
        found.append(Rows(rows[0], rows[1], sizes, rows[2]))
    tried = f"at {counted(len(found), 'other shape')}" if found else ""
    skipped = f"batches at {counted(left, 'other shape')} skipped: time budget exceeded" if left else ""
    return found, "; ".join(filter(None, [tried, skipped]))


def _shapes(inputs: Arrays, spec: ModelSpec) -> tuple[Any, ...]:
    """Without the batch, which may differ from profile to profile."""
    batched = batched_inputs(spec)
    return tuple(array.shape[name in batched :] for name, array in inputs.items())


def _row_elements(inputs: Arrays, spec: ModelSpec) -> int:
    batched = batched_inputs(spec)
    return max(1, sum(math.prod(inputs[name].shape[1:]) for name in batched))
