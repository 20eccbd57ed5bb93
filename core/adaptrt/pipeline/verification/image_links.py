"""Links 0 and 5: predictions on real images, of the framework's own inference pipeline and of the converted model.

Images in which the reference's own predictions change when its input is perturbed by one rounding error are skipped, if the outputs
depend on ranks: they can tell nothing about a conversion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.contributions import Metric
from adaptrt.pipeline import links
from adaptrt.pipeline.artifacts import Artifact
from adaptrt.pipeline.verification.batching import fill_batch, first_rows, smallest_batch
from adaptrt.pipeline.verification.samples import Sample
from adaptrt.pipeline.verification.selected import is_selected
from adaptrt.pipeline.verification.stability import perturbed, self_disagreement
from adaptrt.pipeline.verification.verify import Verification
from adaptrt.report import Check
from adaptrt.specs import ModelSpec, task_named
from adaptrt.specs.precisions import FP32
from adaptrt.verify.compare import rank_sensitive_groups

if TYPE_CHECKING:
    from adaptrt.pipeline.job import Job
    from adaptrt.specs import Task
    from adaptrt.specs.runners import Runner


_OTHER_ORDER = "The labels of the spec have another order than the framework's."


def names_check(expected: Any, spec: ModelSpec) -> Check | None:
    """A failed check if the framework has the same names for the classes in another order; ``None`` if they are in order or unknown."""
    names = names_of(expected)
    if not names or names == spec.labels or sorted(names) != sorted(spec.labels):
        return None
    same = sum(theirs == ours for theirs, ours in zip(names, spec.labels, strict=True))
    return Check(
        name="class names",
        unit="share",
        value=same / len(names),
        limit=1.0,
        passed=False,
        reason="the same names, in the same order",
        samples=1,
        higher_is_better=True,
        kind="metric",
        detail=f"C{_first_difference(names, spec.labels)[1:]}",
    )


def _why_nothing(metrics: Sequence[Metric], task: Task[Any]) -> str:
    """Why no check was made."""
    return task.empty_reason if metrics else f"no metric for task {task.name!r}"


def names_of(expected: Any) -> tuple[str, ...]:
    """The framework's names of the classes; empty if they are unknown."""
    return tuple(map(str, getattr(expected, "names", ())))


def _first_difference(theirs: Sequence[str], ours: Sequence[str]) -> str:
    pairs = zip_longest(theirs, ours)
    number, (their, our) = next((index, pair) for index, pair in enumerate(pairs) if pair[0] != pair[1])
    return f"class {number} is {their!r} in the framework and {our!r} in the spec"


@dataclass(kw_only=True)
class ImageLinks:
    """``spec`` is that of the reference."""

    job: Job
    reference: Runner
    spec: ModelSpec

    def compare_with_framework(self) -> None:
        """Link 0: the framework's own inference pipeline and adaptrt agree on a real image."""
        job, spec = self.job, self.spec
        if job.request.verify == "none":
            return job.not_run(0, "--verify none")
        images = job.images()
        if not images:
            return job.not_run(0, "no --image")
        with job.timed("link 0", verifying=True):
            expected = job.hooks.framework_predictions(job.ctx, images[0], spec)
            if expected is None:
                return job.not_run(0, f"not available: adapter {job.request.adapter} has no framework predictions")
            if isinstance(expected, str):
                return job.not_run(0, expected)
            actual = self.predictions(self.reference, spec, images[0], "eager")
            record = links.image_record(job.report.images, images[0])
            task = task_named(spec.task)
            record.predictions["framework"] = links.record_prediction(expected, task)
            if links.found_nothing([expected, actual], task):
                return job.not_run(0, task.empty_reason)
            metrics = job.metrics(spec, FP32)
            found = self.compare(metrics, images[:1], [expected], [actual], spec, [actual])
            if not found.checks and not found.unstable:
                return job.not_run(0, _why_nothing(metrics, task))
            named = bool(getattr(job.ctx.options, "class_names", ()))
            names = None if named else names_check(expected, spec)
            theirs = names_of(expected)
            if names is None and theirs and spec.labels and theirs != spec.labels and not named:
                job.warn(f"{_first_difference(theirs, spec.labels)}: compare the labels")
            hint = _OTHER_ORDER if names is not None and all(check.passed for check in found.checks) else None
            found.checks += [names] if names is not None else []
            found.record(job.report.link(0), hint=hint)
        return None

    def compare_converted(self, results: Sequence[Artifact], spec: ModelSpec) -> None:
        """Link 5: the converted model's predictions on real images match the reference's.

        ``spec`` is that of the converted model, which has other outputs if it ends in NMS.
        """
        job = self.job
        images = job.images()
        if not images:
            return job.not_run(5, "no --image")
        with job.timed("link 5", verifying=True) as stage:
            task = task_named(spec.task)
            expected = [self.predictions(self.reference, self.spec, path, "eager") for path in images]
            together, nothing, metrics = Verification(items="image"), True, list[Metric]()
            for artifact in results:
                runner = job.runners.open(artifact, job.request)
                actual = [self.predictions(runner, spec, path, runner.backend) for path in images]
                metrics = job.metrics(spec, artifact.precision)
                found = self.compare(metrics, images, expected, actual, spec, expected)
                if not found.checks and not found.unstable:
                    together.shortcoming = f"{artifact.name}: {task.empty_reason}"
                for check in found.checks:
                    check.artifact = artifact.name if len(results) > 1 else ""
                together.checks += found.checks
                together.unstable = max(together.unstable, found.unstable, key=len)  # of the same images
                stage.note = "; ".join(map(task.describe, actual))
                nothing = nothing and links.found_nothing([*expected, *actual], task)
            if not together.checks and not together.unstable:
                return job.not_run(5, _why_nothing(metrics, task))
            if nothing:
                return job.not_run(5, task.empty_reason)
            together.record(job.report.link(5))
        return None

    def compare(
        self,
        metrics: Sequence[Metric],
        images: Sequence[Path],
        expected: Sequence[Any],
        actual: Sequence[Any],
        spec: ModelSpec,
        reference: Sequence[Any],
    ) -> Verification:
        """Compare predictions; ``reference`` are those of the reference, one of the two sides."""
        found = Verification(items="image")
        found.checks = links.compare_predictions(metrics, expected, actual, spec)
        if all(check.passed for check in found.checks):
            return found
        if not rank_sensitive_groups(self.spec) and not is_selected(self.spec):
            return found
        kept = []
        for index, path in enumerate(images):
            alone = links.compare_predictions(metrics, [expected[index]], [actual[index]], spec)
            failed = [check for check in alone if not check.passed]
            unstable = self._instability(path, failed, metrics, reference[index], spec) if failed else None
            if unstable is None:
                kept.append(index)
            else:
                found.unstable.append(unstable)
        if found.unstable:
            ours, theirs = ([side[index] for index in kept] for side in (expected, actual))
            found.checks = links.compare_predictions(metrics, ours, theirs, spec) if kept else []
        return found

    def _instability(
        self, path: Path, failed: Sequence[Check], metrics: Sequence[Metric], reference: Any, spec: ModelSpec
    ) -> Check | None:
        """A failed check of the reference with a perturbed input, if it disagrees with itself at least as much."""
        from adaptrt.vision.images import read_image

        hooks, smallest = self.job.hooks, smallest_batch(self.spec)
        arrays, meta = hooks.preprocess(read_image(path, self.spec.image_channels), self.spec)
        sample = Sample(fill_batch([arrays], smallest), again=self.reference.run)

        def again() -> Any:
            for outputs in perturbed(sample, FP32):
                (prediction,) = hooks.postprocess(first_rows(dict(outputs), 1, smallest), [meta], self.spec)
                yield links.compare_predictions(metrics, [reference], [prediction], spec)

        return self_disagreement(failed, again())

    def predictions(self, runner: Runner, spec: ModelSpec, path: Path, backend: str) -> Any:
        from adaptrt.vision.images import read_image

        image = read_image(path, spec.image_channels)
        prediction = links.predict(runner, image, self.job.hooks.preprocess, self.job.hooks.postprocess, spec)
        record = links.record_prediction(prediction, task_named(spec.task))
        links.image_record(self.job.report.images, path).predictions[backend] = record
        return prediction
