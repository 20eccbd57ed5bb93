"""The evaluation itself."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from adaptrt.errors import ImageError, ShapeError
from adaptrt.evaluation.records import BackendResult, Evaluation
from adaptrt.evaluation.request import EvaluationRequest
from adaptrt.evaluation.subjects import EAGER, Subject, choose_subjects, doubts, require_one_task, require_task
from adaptrt.pipeline.load import Model
from adaptrt.pipeline.public_call import public_call
from adaptrt.pipeline.reference import Origin, origin_missing, split_params
from adaptrt.pipeline.request_values import StrPath, path_of, paths_of
from adaptrt.specs import Dataset, Example, Scorer, Scoring, Task, scoring_named, task_named
from adaptrt.specs.backends import OpenOptions
from adaptrt.specs.tasks import HasFigures
from adaptrt.store.model_files import require_labeled_images

Progress = Callable[[str, int, int], None]
OnPrediction = Callable[[Subject, Example, Any, Any, Task[Any]], None]
OnRecords = Callable[[Subject, list[dict[str, Any]]], None]


@public_call
def evaluate(
    files: Sequence[StrPath],
    data: StrPath,
    *,
    images: StrPath | None = None,
    backends: Sequence[str] = (),
    batch: int | None = None,
    limit: int | None = None,
    params: Mapping[str, Any] | None = None,
    device: str | None = None,
    adapter: str | None = None,
    source: StrPath | None = None,
    weights: StrPath | None = None,
    trust_checkpoint: bool = False,
    allow_host_code: bool = False,
    plugin_libs: StrPath | Sequence[StrPath] = (),
    custom_ops: StrPath | Sequence[StrPath] = (),
    plugins_file: StrPath | None = None,
    on_progress: Progress | None = None,
    on_prediction: OnPrediction | None = None,
    on_records: OnRecords | None = None,
    score: bool = True,
) -> Evaluation:
    """Evaluate every backend on the labeled images of ``data``: the same images in the same batches.

    - ``backends``: eager, onnxruntime, tensorrt or the name of another backend; default: those of the files
    - ``batch``: batch size; default: the spec's opt size. ``limit``: maximum number of images, spread evenly over the data
    - ``adapter``, ``source``, ``weights``, ``trust_checkpoint``: for eager, as passed to ``convert``; names in a report are
      never loaded
    - ``params``: parameters of the decoder and, for eager, options of the adapter
    - ``images``: the folder of the images, if the task's data set has them elsewhere
    - ``plugin_libs``, ``custom_ops``: libraries for TensorRT and ONNX Runtime
    - ``score``: without it, scores are not computed
    - ``on_progress(title, done, total)`` is called as images are done,
      ``on_prediction(subject, example, image, prediction, task)`` for each image, and ``on_records`` with all predictions of a
      backend in the task's exchange format (detection: COCO results)
    """
    request = EvaluationRequest(
        files=paths_of(files),
        data=Path(data),
        images=path_of(images),
        backends=tuple(backends),
        batch=batch,
        limit=limit,
        params=dict(params or {}),
        options=OpenOptions(
            device=device,
            custom_ops=paths_of(custom_ops),
            plugin_libs=paths_of(plugin_libs),
            allow_host_code=allow_host_code,
        ),
        adapter=adapter,
        source=None if source is None else os.fspath(source),
        weights=path_of(weights),
        trust_checkpoint=trust_checkpoint,
        plugins_file=path_of(plugins_file),
        score=score,
    )
    return run_evaluation(request, on_progress=on_progress, on_prediction=on_prediction, on_records=on_records)


def run_evaluation(
    request: EvaluationRequest,
    *,
    on_progress: Progress | None = None,
    on_prediction: OnPrediction | None = None,
    on_records: OnRecords | None = None,
) -> Evaluation:
    """Run the evaluation that a request describes; shared by ``evaluate`` and the command line."""
    subjects = choose_subjects(request.files, request.backends)
    require_labeled_images(request.data, request.images)
    for subject in subjects:
        subject.require_backend()
    if len(subjects) > 1:
        require_one_task(subjects)
    origin, params = _origin(request, subjects)
    evaluation: Evaluation | None = None
    dataset, answers, baseline = Dataset(()), list[Any](), list[Any]()
    labels: tuple[str, ...] = ()
    tasks: dict[str, str] = {}
    for subject in subjects:
        with subject.open(request, origin) as model:
            scoring = scoring_named(model.spec.task)
            if request.score:
                scoring.require()
            require_task(model.spec.task, subject, tasks)
            if evaluation is None or model.spec.labels != labels:  # the truth has the numbers of the model's classes
                labels = model.spec.labels
                dataset = _limited(scoring.read_dataset(request.data, model.spec, request.images), request.limit)
            if evaluation is None:
                first, size = labels, _batch(model, request.batch)
                evaluation = Evaluation(str(request.data), model.spec.task, 0, size)
                evaluation.notes += doubts(request.files, subjects)
            evaluation.notes += [text for text in (*dataset.notes, *model.warnings) if text not in evaluation.notes]
            _batch(model, evaluation.batch)
            given = {**scoring.params(model.spec), **params}
            progress = partial(on_progress or _silent, f"{subject.backend} {subject.name}")
            seen = partial(on_prediction, subject) if on_prediction else None
            result, found, values, scorer = _one(model, subject, scoring, dataset, evaluation, given, progress, seen)
            if request.score:
                result.scores, result.per_class = scorer.scores(), scorer.per_class()
                result.figures = scorer.figures() if isinstance(scorer, HasFigures) else {}
            if on_records:
                on_records(subject, scorer.records())
            if not evaluation.results:
                answers, baseline = found, values
                evaluation.images = result.images
            elif labels == first:
                result.same = sum(a == b for a, b in zip(answers, found, strict=True)) / max(len(answers), 1)
                result.figures |= _difference(baseline, values)
            else:
                evaluation.notes.append(
                    f"{subject.name} has other classes than {evaluation.results[0].file}, or in another order: agreement is not measured"
                )
            evaluation.results.append(result)
    assert evaluation is not None
    return evaluation


def _origin(request: EvaluationRequest, subjects: Sequence[Subject]) -> tuple[Origin | None, Mapping[str, Any]]:
    """The model behind the files, if eager is among the backends, and the parameters that are the decoder's."""
    eager = next((subject for subject in subjects if subject.backend == EAGER), None)
    if eager is None:
        return None, request.params
    if request.adapter is None or request.source is None:
        raise origin_missing(eager.path)
    options, params = split_params(request.adapter, request.params, request.plugins_file)
    return Origin(request.adapter, request.source, request.weights, options, request.trust_checkpoint), params


def _difference(baseline: Sequence[Any], values: Sequence[Any]) -> dict[str, float]:
    """The largest difference of any value of any image; empty where the task compares none."""
    pairs = [(a, b) for a, b in zip(baseline, values, strict=True) if a is not None and b is not None]
    if not pairs or any(a.shape != b.shape for a, b in pairs):
        return {}
    return {"max difference": max(_apart(a, b) for a, b in pairs)}


def _apart(first: Any, second: Any) -> float:
    """Infinite where only one of them is a number: NaN is neither more nor less than any other difference."""
    import numpy as np

    first, second = np.atleast_1d(first), np.atleast_1d(second)
    with np.errstate(invalid="ignore"):
        apart = np.abs(first.astype(np.float64) - second)
    apart[(first == second) | (np.isnan(first) & np.isnan(second))] = 0.0
    return float(np.nan_to_num(apart, nan=np.inf).max(initial=0.0))


def _silent(title: str, done: int, total: int) -> None:
    pass


def _one(
    model: Model,
    subject: Subject,
    scoring: Scoring[Any],
    dataset: Dataset,
    evaluation: Evaluation,
    params: dict[str, Any],
    on_progress: Callable[[int, int], None],
    on_prediction: Callable[[Example, Any, Any, Task[Any]], None] | None,
) -> tuple[BackendResult, list[Any], list[Any], Scorer[Any]]:
    """The result of one backend, its answer to each image that could be read and the values in it, and the scorer that has
    seen them."""
    from adaptrt.vision.images import read_image

    seconds = dict.fromkeys(("read", "preprocess", "run", "postprocess"), 0.0)
    result = BackendResult(subject.backend, subject.name, seconds=seconds)
    scorer, answers, total = scoring.scorer(model.spec, dataset), list[Any](), len(dataset.examples)
    values: list[Any] = []
    warnings: list[str] = []
    task, done, warm = task_named(model.spec.task), 0, False
    for examples in _batches(dataset.examples, evaluation.batch):
        started = time.perf_counter()
        images, readable = [], []
        for example in examples:
            try:
                images.append(read_image(example.path, model.channels))
                readable.append(example)
            except ImageError as error:
                if not evaluation.results:
                    evaluation.notes.append(f"skipped: {error.message}")
        seconds["read"] += time.perf_counter() - started
        if images and not warm:
            model.timed(images, **params)  # the first run of a backend prepares it
            warm = True
        if images:
            predictions, timing = model.timed(images, **params)
            warnings += model.last_warnings
            for name, spent in vars(timing).items():
                seconds[name] += spent
            for example, image, prediction in zip(readable, images, predictions, strict=True):
                scorer.add(example.truth, prediction)
                answers.append(scoring.answer(prediction))
                values.append(scoring.values(prediction))
                if on_prediction:
                    on_prediction(example, image, prediction, task)
        done += len(examples)
        on_progress(done, total)
    if not answers:
        raise ImageError(
            f"No image of {evaluation.data} can be read.", hint="The notes give the reason for each image."
        )
    if warnings:
        more = f" ({len(warnings) - 1} more such warnings)" if len(warnings) > 1 else ""
        evaluation.notes.append(f"{subject.name} in {subject.backend}: {warnings[0]}{more}")
    result.images = len(answers)
    return result, answers, values, scorer


def _limited(dataset: Dataset, limit: int | None) -> Dataset:
    chosen = dataset.limited(limit)
    if chosen is dataset:
        return dataset
    note = f"{limit} of {len(dataset.examples)} images, spread evenly"
    return replace(chosen, notes=(*dataset.notes, note))


def _batch(model: Model, asked: int | None) -> int:
    axis = model.spec.inputs[0].profiles[0][0]
    if asked is None:
        return axis.opt
    if asked not in axis and asked > axis.max:
        raise ShapeError(
            f"{model.path.name} supports up to {axis.max} images per batch; got {asked}.",
            hint=f"Use --batch {axis.max}, or convert the model for larger batches.",
        )
    if asked < 1:
        raise ShapeError(f"--batch must be at least 1; got {asked}.")
    return asked


def _batches(examples: Iterable[Example], size: int) -> Iterable[list[Example]]:
    rest = iter(examples)
    while batch := list(islice(rest, size)):
        yield batch
