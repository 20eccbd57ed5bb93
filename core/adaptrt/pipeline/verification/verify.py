"""Compare a converted model with the reference: samples alone and in batches, within a time budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from adaptrt.errors import PatchError, VerificationError
from adaptrt.pipeline.artifacts import Artifact
from adaptrt.pipeline.links import record_link
from adaptrt.pipeline.verification.frozen_sizes import hint_of, moved_sizes, naming_frozen_sizes
from adaptrt.pipeline.verification.samples import Sample, batch_axis, batch_sizes
from adaptrt.pipeline.verification.selected import check_selected, is_selected
from adaptrt.quantities import counted, digits
from adaptrt.report import Check, Link
from adaptrt.request import Verify
from adaptrt.specs import ModelSpec, Precision
from adaptrt.specs.backends import runs_onnx

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.pipeline.job import Job

# time budget in seconds of a link for batches; larger ones are then skipped, which the report notes
BATCH_BUDGET = 30.0


@dataclass
class Verification:
    """The result: ``unstable`` holds a failed check for each sample that is skipped because the reference itself is unstable
    there; ``note`` describes what was tried and what was skipped; ``empty``: there was nothing to compare. ``hint`` replaces the
    link's for a failure; ``shortcoming``: why checks that pass are less than a verification; ``items``: what is compared."""

    checks: list[Check] = field(default_factory=list)
    invariance: list[Check] = field(default_factory=list)
    unstable: list[Check] = field(default_factory=list)
    note: str = ""
    empty: bool = False
    hint: str | None = None
    shortcoming: str = ""
    items: str = "sample"

    def record(
        self,
        link: Link,
        *,
        error: type[PatchError | VerificationError] = VerificationError,
        hint: str | None = None,
    ) -> None:
        """Add the checks to the link; the first that fails ends the conversion, with ``error``."""
        link.shortcoming, hint = self.shortcoming, hint or self.hint
        link.reason = "; ".join(filter(None, [link.reason, self.note]))
        if self.unstable:
            link.reason = "; ".join(filter(None, [link.reason, self._skipped()]))
        if self.empty:
            link.status = "not run"
            return
        if self.checks or not self.unstable:
            record_link(link, [*self.checks, *self.invariance], error=error, hint=hint)
            return
        if self.invariance:
            record_link(link, self.invariance, error=error, hint=hint)
        link.status = "not run"

    def _skipped(self) -> str:
        alike = [check for check in self.unstable if check.name == self.unstable[0].name]
        shares = alike[0].higher_is_better
        worst = (min if shares else max)(alike, key=lambda check: check.value)
        count = len(self.unstable)
        what = self.items
        samples = f"every {what}" if not self.checks else f"{count} {what}s" if count > 1 else f"1 {what}"
        unit = " pixels" if worst.unit == "pixels" else ""
        change = f"changes {worst.name} of the reference {'to' if shares else 'by'} {digits(worst.value, 2)}{unit}"
        return f"{samples} skipped: perturbing the input by one rounding error {change}"


def verify(
    job: Job,
    artifact: Artifact,
    spec: ModelSpec,
    samples: Sequence[Sample] | None = None,
    *,
    batches: bool = True,
    label: str = "",
) -> Verification:
    """Run an artifact in its backend; compare it with the reference on every sample, and with itself in batches.

    In ONNX Runtime a sample's result in a batch must be the same within float32 tolerance; else within the tolerance of
    the artifact's precision, since a backend may select other kernels for other batches. ``samples`` are those of the job
    if not given; ``label`` distinguishes the checks of several artifacts.
    """
    runner, found = job.runners.open(artifact, job.request), Verification()
    samples = job.samples if samples is None else samples
    if is_selected(spec):
        found.checks, found.invariance, found.note = check_selected(
            runner, samples, spec, artifact.precision, batches=batches, unstable=found.unstable
        )
        found.empty = not found.checks and not found.unstable
        for check in (*found.checks, *found.invariance):
            check.artifact = label
        return found
    run = naming_frozen_sizes(runner.run, spec) if runs_onnx(artifact.backend) else runner.run
    found.checks, outputs = compare_samples(run, samples, spec, artifact.precision, found.unstable)
    moved = moved_sizes(samples, outputs, spec) if runs_onnx(artifact.backend) else {}
    if moved:
        found.hint = hint_of(moved)
    if batches:
        same_kernels = runs_onnx(artifact.backend)
        found.invariance, found.note = check_batch_invariance(
            run, samples, outputs, spec, job.request.verify, None if same_kernels else artifact.precision
        )
    for check in (*found.checks, *found.invariance):
        check.artifact = label
    return found


def compare_samples(
    run: Callable[[Any], Any],
    samples: Sequence[Sample],
    spec: ModelSpec,
    precision: Precision,
    unstable: list[Check] | None = None,
) -> tuple[list[Check], list[Any]]:
    """Compare each sample with the reference; also returns the outputs, for the batches.

    With ``unstable``, samples for which the reference itself is unstable are skipped; their failed checks are added there.
    """
    from adaptrt.pipeline.verification.stability import leeway_of, reference_instability
    from adaptrt.verify.compare import Comparison

    comparison = Comparison(spec, precision, usual=[sample.reference for sample in samples])
    outputs = []
    for sample in samples:
        outputs.append(run(sample.inputs))
        failed = None if unstable is None else reference_instability(sample, outputs[-1], spec, precision)
        if unstable is None or failed is None:
            comparison.add(sample.reference, outputs[-1], leeway_of(sample, spec, precision))
        else:
            unstable.append(failed)
    return comparison.checks(), outputs


def check_batch_invariance(
    run: Callable[[Any], Any],
    samples: Sequence[Sample],
    alone: Sequence[Any],
    spec: ModelSpec,
    effort: Verify,
    precision: Precision | None = None,
) -> tuple[list[Check], str]:
    """Check batch invariance on the samples of equal shape; also returns a note. ``precision`` sets the tolerance."""
    from adaptrt.pipeline.verification.other_shapes import other_shapes
    from adaptrt.pipeline.verification.stability import leeway_of
    from adaptrt.specs.precisions import FP32
    from adaptrt.verify.batch_invariance import (
        Rows,
        batched_inputs,
        check_batches,
        check_other_items,
        outputs_without_batch,
        split_rows,
    )

    references = [(sample.inputs, sample.reference) for sample in samples if sample.reference]
    whole = outputs_without_batch([given for given, _ in references], [found for _, found in references], spec)
    note = f"{', '.join(whole)}: no batch axis, compared as a whole" if whole else ""
    if whole:
        spec = replace(spec, outputs=tuple(output for output in spec.outputs if output.name not in whole))
        if not spec.outputs:
            return [], note
    alike = [index for index, sample in enumerate(samples) if sample.shapes == samples[0].shapes]
    alike_samples = [samples[index] for index in alike]
    inputs = [sample.inputs for sample in alike_samples]
    axis = batch_axis(spec)
    if not axis.dynamic:
        if axis.max == 1:
            return [], "batch invariance does not apply: the batch is fixed at 1"
        if len(inputs) < 2:
            return [], "batch invariance was not checked: it requires at least two samples"
        leeway = leeway_of(alike_samples[0], spec, precision or FP32)
        checks, ignored = check_other_items(run, inputs, spec, precision, leeway)
        return checks, "; ".join(filter(None, [f"batch {axis.max} with other batch items", _ignored(ignored), note]))
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
    skipped = (
        f"batches {', '.join(map(str, sizes[len(tried) :]))} skipped: time budget of {BATCH_BUDGET:.0f} s exceeded"
        if len(tried) < len(sizes)
        else ""
    )
    outputs = [alone[index] for index in alike]
    shared = {tensor.name for tensor in spec.inputs} - set(batched_inputs(spec))
    if shared:  # a batch has one of these, so every sample must have had the same one alone
        alike_samples = [_with_shared(sample, {name: inputs[0][name] for name in shared}) for sample in alike_samples]
        inputs = [sample.inputs for sample in alike_samples]
        outputs = [run(sample) for sample in inputs]
    leeways = [leeway_of(sample, spec, precision or FP32) for sample in alike_samples]
    rows, rows_alone, row_leeways = split_rows(inputs, outputs, leeways, spec)
    shapes, elsewhere = [Rows(rows, rows_alone, tried, row_leeways)], ""
    if effort == "full":
        others, elsewhere = other_shapes(
            samples,
            alone,
            spec,
            precision or FP32,
            tried[-1],
            seconds=seconds,
            budget=BATCH_BUDGET - min(spent, BATCH_BUDGET),
        )
        shapes += others
    checks, ignored = check_batches(run, shapes, spec, precision)
    batches = f"batch{'es' if len(tried) > 1 else ''} {', '.join(map(str, tried))}"
    return checks, "; ".join(filter(None, [batches, elsewhere, skipped, _ignored(ignored), note]))


def _with_shared(sample: Sample, shared: Mapping[str, NDArray[Any]]) -> Sample:
    """The sample with other values of the inputs that a whole batch shares."""
    inputs = {**sample.inputs, **shared}
    normalized = None if sample.normalized is None else {**sample.normalized, **shared}
    moved = replace(sample, inputs=inputs, normalized=normalized)
    return moved if sample.again is None else replace(moved, reference=sample.again(moved.given))


def _ignored(rows: int) -> str:
    return f"{counted(rows, 'row')} of batches skipped: the reference is unstable there" if rows else ""
