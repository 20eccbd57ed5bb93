"""The six links: each compares one later form with the reference, and says why where it did not run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.contributions import Metric
from adaptrt.errors import AdaptrtError, PatchError, PluginError, VerificationError
from adaptrt.pipeline.samples import Sample, batch_axis, batch_sizes
from adaptrt.predictions import ImageMeta, Predictions
from adaptrt.report import Check, Finding, ImageRecord, Link, PredictionRecord
from adaptrt.specs import ModelSpec, Precision
from adaptrt.specs.runners import Runner

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.specs import Task

# seconds that a link may spend on batches; the larger ones are left out beyond, and the report says so
BATCH_BUDGET = 30.0


def record_link(
    link: Link, checks: Sequence[Check], *, error: type[PatchError | VerificationError] = VerificationError
) -> None:
    """Record the checks; the first that fails ends the conversion."""
    link.checks.extend(checks)
    if not checks:
        link.status = "failed"
        raise error(f"Link {link.number} ({link.name}) compares nothing.", hint="Check the outputs of the spec.")
    failed = [check for check in link.checks if not check.passed]
    link.status = "failed" if failed else "passed"
    if failed:
        check = failed[0]
        relation = "at least" if check.higher_is_better else "at most"
        unit = f" {check.unit}" if check.unit == "pixels" else ""
        said = f"{check.name} {check.value:.3g}{unit}, {relation} {check.limit:.3g} is accepted"
        if math.isinf(check.value) and check.reason:
            said = f"{check.name}: {check.reason}"
        raise error(
            f"Link {link.number} ({link.name}) fails: {said}.",
            hint=_BATCH_DEPENDENT if check.name.endswith(" in a batch") else _HINTS[link.number],
        )


@contextmanager
def guarded(link: Link, *, error: type[PatchError | VerificationError] = VerificationError) -> Iterator[None]:
    """A form of the model that does not even run fails its link."""
    try:
        yield
    except Exception as found:
        reason = found.message if isinstance(found, AdaptrtError) else f"{type(found).__name__}: {found}"
        link.status, link.reason = "failed", reason
        raise error(f"Link {link.number} ({link.name}) fails: {reason}", hint=_HINTS[link.number]) from found


_HINTS = {
    0: "Pre- or postprocessing differs from the framework's: letterbox, channel order, normalisation or decoding.",
    1: "A patch changes the result. Find out which with --debug and --verify full, or leave the adapter's patches out.",
    2: "The exported graph computes something else: try the other --exporter, --no-simplify, or a lower --opset.",
    3: "Keep more of the graph in float32 (--keep-fp32), or choose another --precision.",
    4: "TensorRT computes something else: try --precision fp32, then keep parts in float32 (--keep-fp32).",
    5: "Numbers agree and predictions do not: look at the images in the report.",
}

_BATCH_DEPENDENT = (
    "What a sample gives depends on the others in its batch: the model mixes them itself (a mean over axis 0, BatchNorm that "
    "is not in eval mode), or the graph holds the batch of the example as a number. --batch 1 fixes the batch."
)


def hint_with_hazards(hint: str | None, findings: Sequence[Finding]) -> str | None:
    """The hint of a failed link, with the lines whose numbers the trace froze: the likeliest reason there is."""
    lines = [
        f"{place.file}:{place.line}" + (f" ({place.code})" if place.code else "")
        for finding in findings
        if finding.rule in ("traced-value", "traced-size")
        for place in finding.places
    ]
    if not lines:
        return hint
    return f"The trace froze numbers of the example at {', '.join(lines[:3])}. {hint or ''}".strip()


def hint_of_inputs(options: Any) -> str:
    """What to look at where the model itself fails: shapes, and types and values if the adapter can be told of them."""
    more = [
        text
        for key, text in (
            ("dtypes", "types: --set dtypes.NAME=int64"),
            ("ranges", "values: --set ranges.NAME=[low,high]"),
        )
        if hasattr(options, key)
    ]
    return f"Check the {'; the '.join(['shapes: --imgsz, --batch or --shape', *more])}."


def compare_samples(
    run: Callable[[Any], Any],
    samples: Sequence[Sample],
    spec: ModelSpec,
    precision: Precision,
    jumps: list[Check] | None = None,
) -> tuple[list[Check], list[Any]]:
    """Each sample on its own against the reference; the outputs too, for the batches.

    With ``jumps`` samples are left out where the reference itself jumps; what failed in it is added there.
    """
    from adaptrt.pipeline.stability import reference_instability
    from adaptrt.verify.compare import Comparison

    comparison = Comparison(spec, precision)
    outputs = []
    for sample in samples:
        outputs.append(run(sample.inputs))
        jump = None if jumps is None else reference_instability(sample, outputs[-1], spec, precision)
        if jumps is None or jump is None:
            comparison.add(sample.reference, outputs[-1])
        else:
            jumps.append(jump)
    return comparison.checks(), outputs


def record_compared(link: Link, checks: Sequence[Check], invariance: Sequence[Check], jumps: Sequence[Check]) -> None:
    """``record_link``, with a word about samples that were left out; where none is left, the link did not run."""
    if jumps:
        worst = max((jump for jump in jumps if jump.name == jumps[0].name), key=lambda jump: jump.value)
        count = "every sample" if not checks else f"{len(jumps)} samples" if len(jumps) > 1 else "1 sample"
        unit = " pixels" if worst.unit == "pixels" else ""
        said = f"the model's own {worst.name} move by {worst.value:.2g}{unit} when its input moves in the last digits"
        link.reason = "; ".join(filter(None, [link.reason, f"{count} left out: there {said}"]))
    if checks or not jumps:
        record_link(link, [*checks, *invariance])
        return
    if invariance:
        record_link(link, invariance)
    link.status = "not run"


def check_batch_invariance(
    run: Callable[[Any], Any],
    samples: Sequence[Sample],
    alone: Sequence[Any],
    spec: ModelSpec,
    effort: str,
    precision: Precision | None = None,
) -> tuple[list[Check], str]:
    """Batch invariance on the samples of equal shape, and a word about what was left out. ``precision`` is an engine's."""
    from adaptrt.verify.batch_invariance import (
        batched_inputs,
        check_batches,
        check_other_items,
        outputs_without_batch,
        split_rows,
    )

    references = [(sample.inputs, sample.reference) for sample in samples if sample.reference]
    whole = outputs_without_batch([given for given, _ in references], [found for _, found in references], spec)
    said = f"{', '.join(whole)} without a batch axis, compared as a whole" if whole else ""
    if whole:
        spec = replace(spec, outputs=tuple(output for output in spec.outputs if output.name not in whole))
        if not spec.outputs:
            return [], said
    first = {name: array.shape for name, array in samples[0].inputs.items()}
    alike = [
        index
        for index, sample in enumerate(samples)
        if {name: array.shape for name, array in sample.inputs.items()} == first
    ]
    inputs = [samples[index].inputs for index in alike]
    axis = batch_axis(spec)
    if not axis.dynamic:
        if axis.max == 1:
            return [], "batch invariance does not apply: the batch is fixed at 1"
        if len(inputs) < 2:
            return [], "batch invariance is not checked: one sample has no other batch items"
        checks = check_other_items(run, inputs, spec, precision)
        return checks, "; ".join(filter(None, [f"batch {axis.max} with other batch items", said]))
    sizes = batch_sizes(spec)
    if effort == "quick":
        sizes = sizes[:1]
    started = time.perf_counter()
    run(inputs[0])
    seconds = (time.perf_counter() - started) / axis.min
    tried: list[int] = []
    spent = 0.0
    for size in sizes:
        spent += size * seconds
        if spent > BATCH_BUDGET and tried:
            break
        tried.append(size)
    left_out = (
        f"batches {', '.join(map(str, sizes[len(tried) :]))} left out: beyond {BATCH_BUDGET:.0f} s"
        if len(tried) < len(sizes)
        else ""
    )
    outputs = [alone[index] for index in alike]
    shared = {tensor.name for tensor in spec.inputs} - set(batched_inputs(spec))
    if shared:  # one batch has one of these: alone, every sample has to have had the same
        inputs = [{**sample, **{name: inputs[0][name] for name in shared}} for sample in inputs]
        outputs = [run(sample) for sample in inputs]
    rows, rows_alone = split_rows(inputs, outputs, spec)
    checks = check_batches(run, rows, rows_alone, spec, tried, precision)
    return checks, "; ".join(filter(None, [f"batches {', '.join(map(str, tried))}", left_out, said]))


def predict(
    runner: Runner,
    image: NDArray[Any],
    preprocess: Callable[[Any, ModelSpec], tuple[Any, ImageMeta]],
    postprocess: Callable[[Any, Any, ModelSpec], Sequence[Predictions]],
    spec: ModelSpec,
) -> Predictions:
    """One image through pre-processing, a runner and post-processing; a fixed batch is filled with the image."""
    import numpy as np

    arrays, meta = preprocess(image, spec)
    smallest = spec.inputs[0].profiles[0][0].min if spec.inputs else 1
    filled = {
        name: np.repeat(array, smallest, axis=0) if array.shape[0] == 1 else array for name, array in arrays.items()
    }
    outputs = runner.run(filled)
    first = {name: array[:1] if array.ndim and array.shape[0] == smallest else array for name, array in outputs.items()}
    return postprocess(first, [meta], spec)[0]


def compare_predictions(
    metrics: Sequence[Metric], reference: Sequence[Predictions], converted: Sequence[Predictions], spec: ModelSpec
) -> list[Check]:
    """The metrics of the spec's task over the same images."""
    checks = []
    for metric in metrics:
        if metric.task not in (spec.task, "any"):
            continue
        try:
            value = float(metric.compute(reference, converted))
        except Exception as error:
            raise VerificationError(
                f"Metric {metric.name!r} fails: {type(error).__name__}: {error}",
                hint="A metric has to take the predictions of the spec's task.",
            ) from error
        checks.append(
            Check(
                name=metric.name,
                unit="share",
                value=value,
                limit=metric.minimum,
                passed=metric.minimum is None or value >= metric.minimum,
                reason=metric.reason,
                samples=len(reference),
                higher_is_better=True,
            )
        )
    return checks


def found_nothing(predictions: Sequence[Predictions], task: Task[Any]) -> bool:
    """Whether agreement would prove nothing: every prediction is empty."""
    return all(task.is_empty(one) for one in predictions)


def record_prediction(prediction: Predictions, task: Task[Any]) -> PredictionRecord:
    """What a report keeps; a ``PluginError`` now where it could not be written in the end."""
    import msgspec

    data = task.record(prediction)
    try:
        msgspec.json.encode(data)
    except TypeError as error:
        raise PluginError(
            f"Task {task.name!r} records a prediction that is not JSON data: {error}.",
            hint="Plain values only: float(x) for a numpy scalar, array.tolist() for an array.",
        ) from error
    return PredictionRecord(task.name, task.describe(prediction), data)


def image_record(records: list[ImageRecord], path: Path) -> ImageRecord:
    """The record of this image, made at its first use."""
    for record in records:
        if record.path == str(path):
            return record
    records.append(ImageRecord(str(path)))
    return records[-1]
