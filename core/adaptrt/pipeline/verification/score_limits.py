"""What the loss of a score on labeled images does not show: files that ignore their input, and classes that are lost."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from adaptrt.specs import Dataset, ModelSpec, scoring_named, task_named
from adaptrt.specs.tasks import Scorer
from adaptrt.spread import spread

_CONSTANTS = 8  # predictions that are tried in place of all others
_FEWEST = 10  # objects or images of a class, for its score to count
_SMALLEST = 0.001  # likewise, as a share of all
LEAST_KEPT = 0.5
"""Below this share of its score, a class is lost rather than inexact."""
_NOISE = 1.5  # three standard deviations of a share, times the square root of the number of objects


def blind_spots(
    spec: ModelSpec,
    dataset: Dataset,
    before: Sequence[Any],
    after: Sequence[Any],
    sizes: Sequence[tuple[int, int]],
    max_loss: float,
) -> str:
    """Why a loss of at most ``max_loss`` points on these images is less than a verification; empty if it is one.

    ``before`` and ``after``: predictions of the original and the converted model; ``sizes``: of the images.
    """
    scoring = scoring_named(spec.task)

    def scorer(chosen: Sequence[int], predictions: Sequence[Any]) -> Scorer[Any]:
        found = scoring.scorer(spec, dataset)
        for index, prediction in zip(chosen, predictions, strict=True):
            found.add(dataset.examples[index].truth, prediction)
        return found

    groups = Counter() if task_named(spec.task).whole_image else Counter(sizes)
    usual = groups.most_common(1)[0][0] if groups else None
    alike = [index for index, size in enumerate(sizes) if usual in (None, size)]
    name, lost = _lost_by_a_constant(before, alike, scorer)
    if lost <= max_loss:
        return f"on these images, a file that ignores its input would lose only {max(lost, 0):.3g} points of {name}"
    every = range(len(before))
    classes = [_by_class(scorer(every, side), spec, dataset, side, scorer) for side in (before, after)]
    return _lost_classes(*classes)


def _lost_by_a_constant(
    predictions: Sequence[Any], alike: Sequence[int], scorer: Callable[..., Scorer[Any]]
) -> tuple[str, float]:
    """The score, and the points that it loses if one prediction is that of every image; the least of several.

    ``alike``: images of one size, since predictions may have the size of their image. Their share of the score that is lost stands
    for that of all, if they are most of the images. Nothing at all is also such a prediction.
    """
    name, score = next(iter(scorer(range(len(predictions)), predictions).scores().items()))
    if len(alike) < max(_FEWEST, len(predictions) / 2):
        return name, 100 * score
    own = _main(scorer(alike, [predictions[index] for index in alike]))
    if own <= 0:
        return name, 100 * score
    constants = [_main(scorer(alike, [predictions[index]] * len(alike))) for index in spread(alike, _CONSTANTS)]
    return name, 100 * score * min(1, 1 - max(constants) / own)


def _main(scorer: Scorer[Any]) -> float:
    return next(iter(scorer.scores().values()))


def _by_class(
    whole: Scorer[Any],
    spec: ModelSpec,
    dataset: Dataset,
    predictions: Sequence[Any],
    scorer: Callable[..., Scorer[Any]],
) -> Mapping[str, tuple[float, float]]:
    """Objects and main score of each class; a task without such a table is scored on the images of each class."""
    table = whole.per_class()
    if table:
        return {name: (row[0], row[1]) for name, values in table.items() if len(row := [*values.values()]) > 1}
    groups: dict[Any, list[int]] = defaultdict(list)
    for index, example in enumerate(dataset.examples):
        if isinstance(example.truth, Hashable):
            groups[example.truth].append(index)
    return {
        spec.labels[truth] if isinstance(truth, int) and truth < len(spec.labels) else str(truth): (
            len(chosen),
            _main(scorer(chosen, [predictions[index] for index in chosen])),
        )
        for truth, chosen in groups.items()
        if len(chosen) >= _FEWEST
    }


def _lost_classes(before: Mapping[str, tuple[float, float]], after: Mapping[str, tuple[float, float]]) -> str:
    lost = []
    fewest = max(_FEWEST, _SMALLEST * sum(count for count, _ in before.values()))
    for name, (count, score) in before.items():
        now = after.get(name, (0, 0.0))[1]
        certain = (score - now) * count**0.5 > _NOISE
        if count >= fewest and now < LEAST_KEPT * score and certain:
            lost.append((score - now, f"{name!r} scores {100 * now:.3g} instead of {100 * score:.3g}"))
    if not lost:
        return ""
    (_, worst), more = max(lost), len(lost) - 1
    others = f", and {more} more lose more than half of their score" if more else ""
    return f"class {worst}{others}"
