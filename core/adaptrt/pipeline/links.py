"""The six links: each compares one converted form with the reference, or records why it did not run."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.contributions import Metric
from adaptrt.errors import AdaptrtError, PatchError, PluginError, VerificationError
from adaptrt.pipeline.verification.batching import fill_batch, first_rows, smallest_batch
from adaptrt.plugins.raised_at import raised_at
from adaptrt.predictions import ImageMeta, Predictions
from adaptrt.quantities import digits
from adaptrt.report import Check, Finding, ImageRecord, Link, PassRecord, PredictionRecord
from adaptrt.specs import ModelSpec
from adaptrt.specs.runners import Runner

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.specs import Task


def record_link(
    link: Link,
    checks: Sequence[Check],
    *,
    error: type[PatchError | VerificationError] = VerificationError,
    hint: str | None = None,
) -> None:
    """Record the checks; the first that fails ends the conversion. ``hint`` replaces the one of the link."""
    link.checks.extend(checks)
    if not checks:
        link.status = "failed"
        raise error(
            f"Link {link.number} ({link.name}) has no outputs to compare.",
            hint="Check the outputs that the spec defines.",
        )
    failed = [check for check in link.checks if not check.passed]
    link.status = "failed" if failed else "passed"
    if failed:
        check = failed[0]
        assert check.limit is not None
        relation = "at least" if check.higher_is_better else "at most"
        unit = f" {check.unit}" if check.unit == "pixels" else ""
        text = f"{check.title} {digits(check.value)}{unit}, {relation} {digits(check.limit)} is accepted"
        if math.isinf(check.value) and check.reason:
            text = f"{check.title}: {check.reason}"
        raise error(
            f"Link {link.number} ({link.name}) fails: {text}.",
            hint=_with_detail(
                hint or (_BATCH_DEPENDENT if check.kind == "batch" else _HINTS[link.number]), check.detail
            ),
        )


def _with_detail(hint: str, detail: str) -> str:
    return f"{detail}. {hint}" if detail else hint


@contextmanager
def guarded(
    link: Link, *, error: type[PatchError | VerificationError] = VerificationError, cause: str | None = None
) -> Iterator[None]:
    """A converted model that does not run fails its link. ``cause``: a hint that is more likely than that of the link."""
    try:
        yield
    except Exception as found:
        reason = found.message if isinstance(found, AdaptrtError) else f"{type(found).__name__}: {found}"
        link.status, link.reason = "failed", reason
        if isinstance(found, PluginError):  # a mistake, not a difference
            raise
        hint = found.hint if isinstance(found, VerificationError) else None
        if cause is None and link.number == 1 and not isinstance(found, AdaptrtError):
            hint = f"{raised_in_patched(found)} Use --debug to show the full traceback.".lstrip()
        elif cause is None and link.number == 4 and not isinstance(found, AdaptrtError):
            hint = f"{raised_at(found)} {_RUNNER} Use --debug to show the full traceback.".lstrip()
        raise error(
            f"Link {link.number} ({link.name}) fails: {reason}", hint=hint or cause or _HINTS[link.number]
        ) from found


def raised_in_patched(error: Exception) -> str:
    """Where the patched model raised: in a replacement, which may have been called with arguments that it does not take."""
    *_, (last, _) = traceback.walk_tb(error.__traceback__)
    if last.f_globals.get("__name__") == "adaptrt.patching.apply":
        return (
            "The replacement of a FunctionPatch gets the original function first: replacement(original, *args, **kwargs); "
            "for a method, self comes first in args."
        )
    return raised_at(error, callers=("torch",))


OTHER_EXPORTER = "the other --exporter, "
_RUNNER = "run() of a backend's runner takes and returns arrays by name."
_HINTS = {
    0: "Pre- or postprocessing differs from the framework's: letterbox, channel order, normalization or decoding.",
    1: "A patch changes the result. Find it with --debug and --verify full, or disable the adapter's patches.",
    2: f"The exported graph computes different results: try {OTHER_EXPORTER}a lower --opset, or --no-simplify.",
    3: "Keep more of the graph in float32 (--keep-fp32), or choose another --precision.",
    4: "The backend computes different results: try --precision fp32, then keep parts in float32 (--keep-fp32).",
    5: "The outputs match but the predictions do not: compare the images in the report.",
}

NARROWED = (
    "The model is float64 and the exported one float32: the difference comes from the lower precision. Rewrite the model so "
    "that float32 is sufficient, or declare its inputs as float64 (adapter torch: --set dtypes.NAME=float64)."
)

NARROWED_FAILS = (
    "The model is float64, and its float32 copy is exported: its forward() probably converts values to float64. Remove these "
    "conversions, or declare its inputs as float64 (adapter torch: --set dtypes.NAME=float64)."
)

_BATCH_DEPENDENT = (
    "The result of a sample depends on the others in its batch: the model mixes them (a mean over axis 0, BatchNorm that "
    "is not in eval mode), or the graph holds the batch size of the example as a constant. --batch 1 fixes the batch."
)


def hint_without(hint: str | None, failed_exporters: Sequence[str]) -> str | None:
    """The hint, without the other exporter if it has already failed."""
    return hint.replace(OTHER_EXPORTER, "") if hint and failed_exporters else hint


def hint_with_hazards(hint: str | None, findings: Sequence[Finding]) -> str | None:
    """The hint of a failed link, with the lines at which tracing recorded a constant: the most likely cause."""
    lines = [
        f"{place.file}:{place.line}" + (f" ({place.code})" if place.code else "")
        for finding in findings
        if finding.rule in ("traced-value", "traced-size")
        for place in finding.places
    ]
    if not lines:
        return hint
    return f"Tracing recorded constants from the example inputs at {', '.join(lines[:3])}. {hint or ''}".strip()


def hint_with_passes(hint: str | None, passes: Sequence[PassRecord]) -> str | None:
    """The hint of a failed link 2, with the graph passes that plugins contributed: each of them may be the cause."""
    added = [f"{one.name!r} of {one.plugin}" for one in passes if not one.plugin.startswith("core.")]
    if not added:
        return hint
    what, it = ("The graph pass", "it") if len(added) == 1 else ("One of the graph passes", "them")
    return f"{what} {', '.join(added)} may have changed the result: convert without {it} first. {hint or ''}".strip()


def hint_of_inputs(options: Any) -> str:
    """What to check if the model itself fails: shapes, and types and values if the adapter has options for them."""
    more = [
        text
        for key, text in (
            ("dtypes", "types: --set dtypes.NAME=int64"),
            ("ranges", "values: --set ranges.NAME=[low,high]"),
        )
        if hasattr(options, key)
    ]
    return f"Check the {'; the '.join(['shapes: --imgsz, --batch or --shape', *more])}."


def predict(
    runner: Runner,
    image: NDArray[Any],
    preprocess: Callable[[Any, ModelSpec], tuple[Any, ImageMeta]],
    postprocess: Callable[[Any, Any, ModelSpec], Sequence[Predictions]],
    spec: ModelSpec,
) -> Predictions:
    """One image through pre-processing, a runner and post-processing; a fixed batch is filled with the image."""
    arrays, meta = preprocess(image, spec)
    outputs = runner.run(fill_batch([arrays], smallest_batch(spec)))
    return postprocess(first_rows(outputs, 1, smallest_batch(spec)), [meta], spec)[0]


def compare_predictions(
    metrics: Sequence[Metric], reference: Sequence[Predictions], converted: Sequence[Predictions], spec: ModelSpec
) -> list[Check]:
    """The metrics of the spec's task over the same images; without those that found nothing to compare."""
    checks = []
    for metric in metrics:
        if metric.task not in (spec.task, "any"):
            continue
        try:
            found = metric.compute(reference, converted)
            if found is None:
                continue
            value = float(found)
        except Exception as error:
            raise VerificationError(
                f"Metric {metric.name!r} fails: {type(error).__name__}: {error}",
                hint="A metric must accept the predictions of the spec's task.",
            ) from error
        passed = metric.minimum is None or value >= metric.minimum
        explain = None if passed else metric.explain
        checks.append(
            Check(
                name=metric.name,
                unit="share",
                value=value,
                limit=metric.minimum,
                passed=passed,
                reason=metric.reason,
                samples=len(reference),
                higher_is_better=True,
                kind="metric",
                detail=explain(reference, converted) if explain is not None else "",
            )
        )
    return checks


def found_nothing(predictions: Sequence[Predictions], task: Task[Any]) -> bool:
    """Whether every prediction is empty, so that agreement is not meaningful."""
    return all(task.is_empty(one) for one in predictions)


def record_prediction(prediction: Predictions, task: Task[Any]) -> PredictionRecord:
    """The record for the report. Raises a ``PluginError`` if it is not JSON data, before the report is written."""
    import msgspec

    data = task.record(prediction)
    try:
        msgspec.json.encode(data)
    except TypeError as error:
        raise PluginError(
            f"Task {task.name!r} records a prediction that is not JSON data: {error}.",
            hint="Use plain values: float(x) for a numpy scalar, array.tolist() for an array.",
        ) from error
    return PredictionRecord(task.name, task.describe(prediction), data)


def image_record(records: list[ImageRecord], path: Path) -> ImageRecord:
    """The record of this image, created on first use."""
    for record in records:
        if record.path == str(path):
            return record
    records.append(ImageRecord(str(path)))
    return records[-1]
