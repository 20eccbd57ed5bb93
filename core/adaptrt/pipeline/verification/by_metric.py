"""Verification of quantized models: not by distances of outputs, but by what they predict on images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.errors import UsageError
from adaptrt.pipeline import links
from adaptrt.pipeline.verification.batching import fill_batch, first_rows, smallest_batch
from adaptrt.pipeline.verification.score_limits import blind_spots
from adaptrt.report import Check
from adaptrt.specs import Dataset, Example, ModelSpec, Precision, scoring_named, task_named
from adaptrt.specs.calibration import LabeledData
from adaptrt.specs.runners import Runner
from adaptrt.store.hashing import file_sha256
from adaptrt.store.model_files import require_labeled_images

if TYPE_CHECKING:
    from adaptrt.contributions import Metric
    from adaptrt.plugins.facade import Hooks

FEWEST_IMAGES = 100  # for a score to count as verification
MOST_WITHOUT_LABELS = 100
LEAST_AGREEMENT = 0.8
"""Without labels: below this share of equal predictions, a calibration is broken rather than inexact."""
_HALVES = (20, 100)  # half samples for the interval: fewer for large data sets
_HALVES_OF_IMAGES = 20_000

HINT = (
    "Calibrate on more images, or on images closer to those in use (--calib, --calib-images); keep layers in float "
    "(--keep-fp32); or use --precision fp16."
)


@dataclass
class VerificationImages:
    """Images to compare predictions on: labeled ones (``data``), or others without labels."""

    dataset: Dataset
    data: LabeledData | None = None

    @property
    def examples(self) -> Sequence[Example]:
        return self.dataset.examples

    @property
    def paths(self) -> list[Path]:
        return [example.path for example in self.examples]

    @cached_property
    def shortcoming(self) -> str:
        """Why agreement on these images is less than a verification; empty if it is one."""
        if self.data is None:
            return "no labels (--data)"
        different: set[str] = set()
        for path in self.paths:
            different.add(file_sha256(path))
            if len(different) >= FEWEST_IMAGES:
                return ""
        images = "images" if len(different) == len(self.examples) else "different images"
        return f"scored on {len(different)} {images}, fewer than {FEWEST_IMAGES}"


def labeled_images(data: LabeledData, spec: ModelSpec) -> VerificationImages:
    """The labeled images of ``--data``, as ``adaptrt evaluate`` reads them."""
    require_labeled_images(data.source, data.images)
    scoring = scoring_named(spec.task)
    scoring.require()
    dataset = scoring.read_dataset(data.source, spec, data.images)
    return VerificationImages(dataset.limited(data.limit), data)


def unlabeled_images(paths: Sequence[Path]) -> VerificationImages:
    dataset = Dataset(tuple(Example(path, None) for path in paths))
    return VerificationImages(dataset.limited(MOST_WITHOUT_LABELS))


def require_disjoint(calibration: Sequence[str], verification: Sequence[Path]) -> None:
    """Reject images that are in both sets, by their content; ``calibration`` are the hashes of that set."""
    known = set(calibration)
    shared = [path for path in verification if file_sha256(path) in known]
    if shared:
        raise UsageError(
            f"{len(shared)} of {len(verification)} verification images are also calibration images ({shared[0].name} ...), "
            "which would bias the result.",
            hint="Use --calib images that are not in --data, for example from the training set.",
        )


@dataclass(frozen=True)
class Loss:
    """Points that are lost: of the score, as ``measured`` on the images, and of the mean ``confidence`` in the right answers
    (``None`` if the task has no single one)."""

    measured: float
    confidence: float | None = None

    @property
    def judged(self) -> float:
        """The larger one: on a few hundred images, answers that become right by chance hide those that become wrong."""
        return self.measured if self.confidence is None else max(self.measured, self.confidence)


@dataclass(kw_only=True)
class MetricVerification:
    """Compares predictions with those of the reference, which are computed once.

    ``open_reference`` opens what ``spec`` describes: the original model, or the float32 file.
    """

    images: VerificationImages
    hooks: Hooks
    spec: ModelSpec
    open_reference: Callable[[], Runner]
    progress: Callable[[int, int, str], None]
    _reference: _Predictions | None = field(default=None, init=False)
    _graph: _Predictions | None = field(default=None, init=False)
    _blind: str = field(default="", init=False)

    @property
    def shortcoming(self) -> str:
        """Why the last ``checks`` are less than a verification, even if all pass; empty if they are one."""
        return "; ".join(filter(None, [self.images.shortcoming, self._blind]))

    def checks(
        self,
        runner: Runner,
        spec: ModelSpec,
        precision: Precision,
        metrics: Callable[[ModelSpec, Precision], list[Metric]],
        *,
        built: bool = False,
    ) -> tuple[list[Check], str]:
        """The loss of the task's main score if there are labels, the agreement of predictions, and a note about them.

        Agreement with the original is judged only if there are no labels. A file that was built (``built``) also has to
        agree with the Q/DQ graph that it was built from, if that was judged before.
        """
        if self._reference is None:
            self._reference = self._predict(self.open_reference(), self.spec, "original")
        converted = self._predict(runner, spec, precision.name)
        agreement = links.compare_predictions(metrics(spec, precision), self._reference.shown, converted.shown, spec)
        for check in agreement:
            _require_agreement(check, None if self.images.data else "no labels: less means a broken calibration")
        if built and self._graph is not None:
            same = links.compare_predictions(metrics(spec, precision), self._graph.shown, converted.shown, spec)
            for check in same:
                check.kind = "same graph"
                _require_agreement(check, "less means that the backend computes something else")
            agreement = [*same, *agreement]
        agreement += self._in_a_batch(runner, spec, converted, metrics(spec, precision)) if built else []
        if not built:
            self._graph = converted
        if self.images.data is None:
            return agreement, f"{len(self.images.examples)} images without labels"
        loss, note = self._loss(self._reference.scored, converted.scored, self.images.data)
        original, limit = self._reference, self.images.data.max_loss
        self._blind = blind_spots(
            self.spec, self.images.dataset, original.scored, converted.scored, original.sizes, limit
        )
        return [loss, *agreement], note

    def _in_a_batch(
        self, runner: Runner, spec: ModelSpec, alone: _Predictions, metrics: Sequence[Metric]
    ) -> list[Check]:
        """The first images in one batch, compared with the same ones alone: other kernels run there."""
        from adaptrt.vision.images import read_image

        paths = self.images.paths[: max(tensor.dims[0].max for tensor in spec.inputs if tensor.dims)]
        if len(paths) < 2:
            return []
        prepared = [self.hooks.preprocess(read_image(path, spec.image_channels), spec) for path in paths]
        smallest = smallest_batch(spec)
        outputs = runner.run(fill_batch([arrays for arrays, _ in prepared], smallest))
        rows = first_rows(dict(outputs), len(paths), max(len(paths), smallest))
        together = self.hooks.postprocess(rows, [meta for _, meta in prepared], spec)
        checks = links.compare_predictions(metrics, alone.shown[: len(paths)], together, spec)
        for check in checks:
            check.kind = "batch"
            _require_agreement(check, f"less means that a result depends on the others in its batch of {len(paths)}")
        return checks

    def loss(
        self,
        runner: Runner,
        spec: ModelSpec,
        precision: Precision,
        metrics: Callable[[ModelSpec, Precision], list[Metric]],
    ) -> Loss:
        """The loss of the task's main score, without its interval; without labels, that of agreement with the original."""
        task, labeled = task_named(spec.task), self.images.data is not None
        scored = labeled or (task.whole_image and task.scoring is not None)
        if self._reference is None:
            self._reference = self._predict(self.open_reference(), self.spec, "original", scored=scored)
        original = self._reference
        converted = self._predict(runner, spec, precision.name, shown=not labeled, scored=scored)
        if labeled:
            every = range(len(self.images.examples))
            lost = self._score(original.scored, every)[1] - self._score(converted.scored, every)[1]
        else:
            compared = metrics(spec, precision)
            agreement = links.compare_predictions(compared, original.shown, converted.shown, spec)
            lost = 1 - min((check.value for check in agreement), default=1.0)
        return Loss(100 * lost, self._lost_confidence(original, converted) if scored else None)

    def _lost_confidence(self, original: _Predictions, converted: _Predictions) -> float | None:
        """Points of the mean confidence in the right answer, or, without labels, in the original's."""
        scoring = scoring_named(self.spec.task)
        lost = []
        for example, before, after in zip(self.images.examples, original.scored, converted.scored, strict=True):
            truth = example.truth if self.images.data is not None else scoring.answer(before)
            first, second = scoring.confidence(truth, before), scoring.confidence(truth, after)
            if first is None or second is None:
                return None
            lost.append(first - second)
        return 100 * sum(lost) / len(lost)

    def _predict(
        self, runner: Runner, spec: ModelSpec, title: str, *, shown: bool = True, scored: bool | None = None
    ) -> _Predictions:
        """``scored``: also as scores want them; by default if there are labels."""
        from adaptrt.vision.images import read_image

        scored = self.images.data is not None if scored is None else scored
        params: Mapping[str, Any] = scoring_named(spec.task).params(spec) if scored else {}
        scored_spec = spec.with_decoder_params(**params) if params else spec
        smallest, found = smallest_batch(spec), _Predictions()
        total = len(self.images.examples)
        for done, example in enumerate(self.images.examples, 1):
            image = read_image(example.path, spec.image_channels)
            arrays, meta = self.hooks.preprocess(image, spec)
            outputs = first_rows(dict(runner.run(fill_batch([arrays], smallest))), 1, smallest)
            if shown:
                found.shown.append(self.hooks.postprocess(outputs, [meta], spec)[0])
            if scored:
                found.scored.append(self.hooks.postprocess(outputs, [meta], scored_spec)[0])
            found.sizes.append(image.shape[:2])
            self.progress(done, total, f"predict with {title}")
        return found

    def _loss(self, reference: Sequence[Any], converted: Sequence[Any], data: LabeledData) -> tuple[Check, str]:
        every = range(len(reference))
        name, before = self._score(reference, every)
        _, after = self._score(converted, every)
        loss = 100 * (before - after)
        low, high = self._interval(reference, converted, loss)
        meaning = "" if low > 0 or high < 0 else ", which includes no difference"
        text = (
            f"{name} {100 * after:.2f} instead of {100 * before:.2f} on {len(reference)} images; "
            f"95 % interval of the loss {low:.2f} to {high:.2f} points{meaning}"
        )
        check = Check(
            name=f"loss of {name}",
            unit="points",
            value=loss,
            limit=data.max_loss,
            passed=loss <= data.max_loss,
            reason=text,
            samples=len(reference),
            kind="metric",
            detail=text,
        )
        return check, text

    def _score(self, predictions: Sequence[Any], chosen: Sequence[int]) -> tuple[str, float]:
        """The task's main score over these images."""
        scorer = scoring_named(self.spec.task).scorer(self.spec, self.images.dataset)
        for index in chosen:
            scorer.add(self.images.examples[index].truth, predictions[index])
        name, value = next(iter(scorer.scores().items()))
        return name, value

    def _interval(self, reference: Sequence[Any], converted: Sequence[Any], loss: float) -> tuple[float, float]:
        """Of the loss, by a bootstrap that draws half of the images without repetition.

        Scorers count an image once, so it cannot be drawn twice; halves vary as samples of full size with repetition do.
        """
        import numpy as np

        count = len(reference)
        if count < 2:
            return loss, loss
        rng = np.random.default_rng(0)
        fewest, most = _HALVES
        apart = []
        for _ in range(min(most, max(fewest, _HALVES_OF_IMAGES // count))):
            chosen = sorted(rng.permutation(count)[: count // 2].tolist())
            half = 100 * (self._score(reference, chosen)[1] - self._score(converted, chosen)[1])
            apart.append(half - loss)
        low, high = np.quantile(apart, [0.025, 0.975])
        return loss - float(high), loss - float(low)


def _require_agreement(check: Check, reason: str | None) -> None:
    """Judge a share of equal predictions by ``LEAST_AGREEMENT``; without a reason it is only reported."""
    check.limit = None if reason is None else LEAST_AGREEMENT
    check.passed = check.limit is None or check.value >= check.limit
    check.reason = reason or check.reason


@dataclass
class _Predictions:
    """As shown to users, and as scores want them (with unlikely objects or classes). ``sizes``: of the images."""

    shown: list[Any] = field(default_factory=list)
    scored: list[Any] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)


def is_judged_by_metric(precision: Precision, spec: ModelSpec) -> bool:
    """Whether distances of outputs say little: int8 shifts them everywhere, and predictions hardly."""
    return precision.form == "qdq" and has_predictions(precision, spec)


def has_predictions(precision: Precision, spec: ModelSpec) -> bool:
    """Whether predictions on images can be compared: there is preprocessing, and the task has metrics."""
    return spec.image is not None and bool(task_named(spec.task).metrics(spec, precision))
