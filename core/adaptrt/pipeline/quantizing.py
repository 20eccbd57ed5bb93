"""The images of an int8 job: those to calibrate on, and others that the result is judged on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from adaptrt.pipeline.calibration import CalibrationImages, calibration_data, choose_images
from adaptrt.pipeline.verification.by_metric import (
    HINT,
    MetricVerification,
    is_judged_by_metric,
    labeled_images,
    require_disjoint,
    unlabeled_images,
)
from adaptrt.pipeline.verification.samples import Sample
from adaptrt.pipeline.verification.verify import Verification, compare_samples
from adaptrt.specs import task_named
from adaptrt.specs.backends import runs_onnx

if TYPE_CHECKING:
    from adaptrt.pipeline.artifacts import Artifact
    from adaptrt.pipeline.job import Job
    from adaptrt.report import Check
    from adaptrt.specs import ModelSpec
    from adaptrt.specs.runners import Runner


def read_images(job: Job, spec: ModelSpec, open_reference: Callable[[], Runner]) -> None:
    """Find the images of ``--calib`` and ``--data``, before time is spent; no image may be in both.

    ``open_reference`` opens what predictions are compared with.
    """
    request = job.request
    if request.calibration is None and request.data is None:
        job.open_reference = open_reference
        return
    verifies = request.verify != "none"
    images = labeled_images(request.data, spec) if request.data is not None else None
    if images is not None:
        job.report.notes.extend(f"--data: {note}" for note in images.dataset.notes)
    calibration = CalibrationImages()
    if request.calibration is not None:
        by_predictions = verifies and images is None and is_judged_by_metric(job.precision, spec)
        calibration = choose_images(request.calibration, hold_back=by_predictions, warn=job.warn)
        if by_predictions and calibration.others:
            images = unlabeled_images(calibration.others)
    if images is not None:
        require_disjoint(calibration.hashes, images.paths)
        job.judge = MetricVerification(
            images=images,
            hooks=job.hooks,
            spec=spec,
            open_reference=open_reference,
            progress=job.observer.stage_progress,
        )
    if request.calibration is not None:
        probes = images.paths if images is not None else ()
        held = verifies and images is None
        job.calibration = calibration_data(
            request.calibration, spec, job.hooks.preprocess, calibration, probes, hold_back=held
        )
        if held and not calibration.used and job.calibration.probes:
            job.held_rows = [Sample(inputs) for inputs in job.calibration.probed()]
            job.open_reference = open_reference


def judged(job: Job, artifact: Artifact, spec: ModelSpec, found: Verification) -> Verification:
    """The verification of an int8 artifact. Predictions on images decide; distances on samples (``found``), which may be
    noise, are only reported. Without images, distances on rows of the calibration set that were held back decide.
    """
    if artifact.precision.form != "qdq":
        return found
    if job.judge is None and job.calibration is None:
        if not is_judged_by_metric(artifact.precision, spec):
            return found
        judge_by_own_images(job, spec)
    runner = job.runners.open(artifact, job.request)
    for check in (*found.checks, *found.invariance):
        check.limit, check.passed = None, True
    if job.judge is not None:
        built = not runs_onnx(artifact.backend)
        checks, note = job.judge.checks(runner, spec, artifact.precision, job.metrics, built=built)
        nothing = "" if checks else task_named(spec.task).empty_reason
        shortcoming = "; ".join(filter(None, [nothing, job.judge.shortcoming]))
    elif job.calibration is None:
        found.note = "; ".join(filter(None, [found.note, "predictions were not compared: no --data or --image"]))
        found.shortcoming = "no images to compare predictions on (--data or --image)"
        return found
    elif job.held_rows:
        checks, note, shortcoming = (
            _compare_rows(job, runner, artifact, spec),
            f"{len(job.held_rows)} rows held back",
            "",
        )
    else:
        return Verification(note="no images beside those of the calibration: use 10 or more, or --data", empty=True)
    judging = [*checks, *found.checks]
    if not judging:
        return Verification(note="; ".join(filter(None, [found.note, note, shortcoming])), empty=True)
    failed = next((check for check in judging if not check.passed), None)
    return Verification(
        checks=judging,
        invariance=found.invariance,
        note="; ".join(filter(None, [found.note, note])),
        hint=None if failed is not None and failed.kind == "batch" else HINT,
        shortcoming=shortcoming,
    )


def judge_by_own_images(job: Job, spec: ModelSpec) -> None:
    """For a Q/DQ graph that is only built: compare predictions with the graph's own on ``--image``, if it is given."""
    if job.images() and job.open_reference is not None:
        job.judge = MetricVerification(
            images=unlabeled_images(job.images()),
            hooks=job.hooks,
            spec=spec,
            open_reference=job.open_reference,
            progress=job.observer.stage_progress,
        )


def _compare_rows(job: Job, runner: Runner, artifact: Artifact, spec: ModelSpec) -> list[Check]:
    assert job.open_reference is not None
    reference = job.open_reference()
    for sample in job.held_rows:
        if not sample.reference:
            sample.reference = reference.run(sample.given)
    checks, _ = compare_samples(runner.run, job.held_rows, spec, artifact.precision)
    for check in checks:
        check.kind = "held back"
    return checks
