"""Graphs that end in NMS: the order of boxes, and boxes close to a threshold, may differ, so detections are matched as
sets instead of compared element by element."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt.pipeline import links
from adaptrt.pipeline.verification.samples import batch_axis
from adaptrt.pipeline.verification.stability import perturbed, self_disagreement
from adaptrt.predictions import ImageMeta
from adaptrt.specs import ModelSpec, Precision, task_named
from adaptrt.specs.decoders import decoder_of
from adaptrt.vision.decoders.efficient_nms import CONVERGED

if TYPE_CHECKING:
    from adaptrt.contributions import Metric
    from adaptrt.pipeline.verification.samples import Sample
    from adaptrt.report import Check
    from adaptrt.specs.runners import Runner
    from adaptrt.specs.tensors import Arrays


def is_selected(spec: ModelSpec) -> bool:
    """Whether the graph itself applies NMS, so that its outputs are final detections."""
    return spec.decoder is not None and bool(getattr(decoder_of(spec).decode, "selected", False))


def check_selected(
    runner: Runner,
    samples: Sequence[Sample],
    spec: ModelSpec,
    precision: Precision,
    *,
    batches: bool,
    unstable: list[Check] | None = None,
) -> tuple[list[Check], list[Check], str]:
    """Match the detections of every sample, alone and in a batch of the samples of one shape; and a note.

    Images for which NMS did not converge are ignored. With ``unstable``, so are samples in which the reference's own
    detections change when its input is perturbed by one rounding error; the failed checks of these samples are added to it.
    If neither side finds anything in any sample, only the note is returned.
    """
    task = task_named(spec.task)
    metrics = task.metrics(spec, precision)
    outputs = [runner.run(sample.inputs) for sample in samples]
    if unstable is not None:
        failed = [
            _instability(sample, found, spec, precision, metrics)
            for sample, found in zip(samples, outputs, strict=True)
        ]
        unstable += [check for check in failed if check is not None]
        kept = [index for index, check in enumerate(failed) if check is None]
        samples, outputs = [samples[index] for index in kept], [outputs[index] for index in kept]
        if not samples:
            return [], [], ""
    pairs = [
        pair
        for sample, found in zip(samples, outputs, strict=True)
        for pair in _pairs(sample.reference, found, spec, sample.inputs)
    ]
    total = sum(len(_detections(sample.reference, spec, sample.inputs)) for sample in samples)
    notes = [f"{total - len(pairs)} of {total} images ignored: NMS did not converge"] if len(pairs) < total else []
    if links.found_nothing([one for pair in pairs for one in pair], task):
        return [], [], "; ".join([*notes, "no detections in any sample: pass an --image, or lower --set conf"])
    checks = _compare(metrics, pairs, spec)
    alike = [sample for sample in samples if sample.shapes == samples[0].shapes]
    axis, rows = batch_axis(spec), len(next(iter(samples[0].inputs.values())))
    size = min(axis.max // rows, len(alike))
    if not batches or size < 2 or not axis.dynamic or len(spec.inputs) > 1:
        return checks, [], "; ".join(notes)
    joined = {name: np.concatenate([sample.inputs[name] for sample in alike[:size]]) for name in samples[0].inputs}
    reference = {
        name: np.concatenate([sample.reference[name] for sample in alike[:size]]) for name in alike[0].reference
    }
    invariance = _compare(metrics, _pairs(reference, runner.run(joined), spec, joined), spec)
    for check in invariance:
        check.kind = "batch"
    return checks, invariance, "; ".join([*notes, f"detections matched as sets; batch {size * rows}"])


def _instability(
    sample: Sample, converted: Arrays, spec: ModelSpec, precision: Precision, metrics: Sequence[Metric]
) -> Check | None:
    """A failed check of the reference with a perturbed input, if it disagrees with itself at least as much as the converted model
    disagrees with it; ``None``: the sample counts."""
    failed = [
        check
        for check in _compare(metrics, _pairs(sample.reference, converted, spec, sample.inputs), spec)
        if not check.passed
    ]
    moved = perturbed(sample, precision)
    again = (_compare(metrics, _pairs(sample.reference, other, spec, sample.inputs), spec) for other in moved)
    return self_disagreement(failed, again) if failed else None


def _compare(metrics: Sequence[Metric], pairs: Sequence[tuple[Any, Any]], spec: ModelSpec) -> list[Check]:
    return links.compare_predictions(metrics, [one for one, _ in pairs], [other for _, other in pairs], spec)


def _pairs(reference: Arrays, converted: Arrays, spec: ModelSpec, inputs: Arrays) -> list[tuple[Any, Any]]:
    """Detections of the reference and of the converted model, of each image that converged."""
    pairs = zip(_detections(reference, spec, inputs), _detections(converted, spec, inputs), strict=True)
    if CONVERGED not in converted:
        return list(pairs)
    flags = converted[CONVERGED].reshape(-1)
    return [pair for pair, flag in zip(pairs, flags, strict=True) if flag]


def _detections(outputs: Arrays, spec: ModelSpec, inputs: Arrays) -> Sequence[Any]:
    """In input pixels; clipped to the input only if the decoder needs its size."""
    from adaptrt.vision.decoders.decode import decode

    count = len(next(iter(outputs.values())))
    size = (1 << 16, 1 << 16)
    if spec.image is not None and getattr(decoder_of(spec).decode, "sized", False):
        shape = inputs[spec.image.input].shape
        size = (int(shape[spec.image.axes[0]]), int(shape[spec.image.axes[1]]))
    return decode(dict(outputs), [ImageMeta(size, size)] * count, spec)
