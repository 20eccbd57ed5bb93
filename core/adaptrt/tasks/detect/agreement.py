"""Agreement between two sets of boxes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptrt.contributions import Metric
from adaptrt.predictions import Detections
from adaptrt.quantities import digits
from adaptrt.specs import ModelSpec


def box_iou(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float64]:
    """IoU of every pair: [N, 4] and [M, 4] (x1 y1 x2 y2) to [N, M]. It is 1 for equal boxes, even if they are empty."""
    a, b = first[:, None].astype(np.float64), second[None].astype(np.float64)
    overlap = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None).prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - overlap
    iou: NDArray[np.float64] = overlap / np.maximum(union, 1e-12)
    iou[(a == b).all(-1)] = 1
    return iou


def match_boxes(first: Detections, second: Detections, iou: float, pixels: float = 0.0) -> list[tuple[int, int]]:
    """Pairs of equal label and at least this IoU, the best first, each box used once.

    Boxes whose corners all lie within ``pixels`` are the same, whatever their IoU: a box without area has none.
    """
    overlaps = box_iou(first.boxes, second.boxes)
    if pixels and overlaps.size:
        apart = np.abs(first.boxes[:, None].astype(np.float64) - second.boxes[None]).max(-1)
        overlaps[apart <= pixels] = np.maximum(overlaps[apart <= pixels], iou)
    return match_overlaps(overlaps, first, second, iou)


def match_overlaps(
    overlaps: NDArray[np.float64], first: Detections, second: Detections, iou: float
) -> list[tuple[int, int]]:
    """Pairs of equal label that overlap by at least ``iou``, the best first, each object used once.

    ``overlaps``: [N, M], changed in place.
    """
    if not len(first) or not len(second):
        return []
    overlaps[first.labels[:, None] != second.labels[None]] = -1
    pairs = []
    for flat in np.argsort(-overlaps, axis=None, kind="stable"):
        row, column = divmod(int(flat), len(second))
        if overlaps[row, column] < iou:
            break
        pairs.append((row, column))
        overlaps[row, :] = overlaps[:, column] = -1
    return pairs


Match = Callable[[Any, Any, float], list[tuple[int, int]]]
MATCHED = 0.5  # IoU from which on two boxes are the same object, of which more is then compared


def mean_of_matched(
    values: Callable[[Any, Any], list[float]], *, name: str, task: str, reason: str, minimum: float
) -> Metric:
    """The mean of ``values(expected, actual)``, one for each pair of objects that match, over all images; ``None`` without a pair."""

    def compute(reference: Sequence[Any], converted: Sequence[Any]) -> float | None:
        pairs = zip(reference, converted, strict=True)
        found = [value for expected, actual in pairs for value in values(expected, actual)]
        return float(np.mean(found)) if found else None

    return Metric(name=name, task=task, reason=reason, compute=compute, minimum=minimum)


def matched_boxes(
    iou: float,
    score: float,
    threshold: float = 0.0,
    pixels: float = 0.05,
    *,
    task: str = "detect",
    match: Match | None = None,
) -> Metric:
    """The share of boxes that have a match with the same label, at least this IoU, and at most this score difference.

    ``pixels`` is that of ``match_boxes``.

    ``threshold`` is the decoder's: an unmatched box whose score is within ``score`` of it is ignored, since the other
    side may legitimately have dropped it. ``match`` finds the pairs, for a task whose boxes are not upright.
    """

    match = match or functools.partial(match_boxes, pixels=pixels)

    def compute(reference: Sequence[Detections], converted: Sequence[Detections]) -> float | None:
        matched = total = 0
        for expected, actual in zip(reference, converted, strict=True):
            pairs = match(expected, actual, iou)
            alike = sum(abs(float(expected.scores[a]) - float(actual.scores[b])) <= score for a, b in pairs)
            alone = [_alone(expected, {a for a, _ in pairs}), _alone(actual, {b for _, b in pairs})]
            matched += alike
            total += len(pairs) + max(sum(each >= threshold + score for each in scores) for scores in alone)
        return matched / total if total else None

    def explain(reference: Sequence[Detections], converted: Sequence[Detections]) -> str:
        lines = []
        for number, (expected, actual) in enumerate(zip(reference, converted, strict=True), 1):
            pairs = match(expected, actual, iou)
            for a, b in pairs:
                if abs(float(expected.scores[a]) - float(actual.scores[b])) > score:
                    lines.append(
                        f"image {number}: {describe_object(expected, a)} has score {float(actual.scores[b]):.3g}"
                    )
            for side, found, paired in (
                ("missing", expected, {a for a, _ in pairs}),
                ("added", actual, {b for _, b in pairs}),
            ):
                alone = [index for index in range(len(found)) if index not in paired]
                lines += [
                    f"image {number}: {side} {describe_object(found, index)}"
                    for index in alone
                    if float(found.scores[index]) >= threshold + score
                ]
        return shortened(lines)

    return Metric(
        name=f"matched boxes (IoU {iou:g}, score within {score:g})",
        task=task,
        reason="same objects, at the same positions, with the same confidence",
        compute=compute,
        minimum=1.0,
        explain=explain,
    )


def shortened(lines: Sequence[str]) -> str:
    """The first differences, and how many there are beyond them; empty without any."""
    more = f", and {len(lines) - 3} more" if len(lines) > 3 else ""
    return f"{'; '.join(lines[:3])}{more}" if lines else ""


def describe_object(found: Detections, index: int) -> str:
    """Label, score and box."""
    corners = ", ".join(f"{side:.5g}" for side in map(float, found.boxes[index]))
    return f"{found.name(index)} {float(found.scores[index]):.3g} at [{corners}]"


def _alone(found: Detections, paired: set[int]) -> list[float]:
    """Scores of the unmatched boxes."""
    return [float(score) for index, score in enumerate(found.scores) if index not in paired]


def decoder_threshold(spec: ModelSpec) -> float:
    """The score threshold of the spec's decoder; 0 if it has none."""
    from adaptrt.specs.decoders import decoder_of

    if spec.decoder is None:
        return 0.0
    default = getattr(decoder_of(spec).params, "conf", 0.0)
    return float(spec.decoder.params.get("conf", default))


def describe_agreement(expected: Detections, actual: Detections) -> str:
    """Differences from the reference boxes as numbers, since a hundredth of a pixel is not visible."""
    return describe_pairs(expected, actual, match_boxes(expected, actual, MATCHED), (expected.boxes, actual.boxes))


def describe_pairs(
    expected: Detections,
    actual: Detections,
    pairs: Sequence[tuple[int, int]],
    positions: tuple[NDArray[np.float32], NDArray[np.float32]],
    what: str = "",
) -> str:
    """How close the ``positions`` of both sides are, in pixels, and the scores."""
    if not pairs:
        return "no boxes to match" if not len(expected) and not len(actual) else "no box has a match"
    left, right = map(list, zip(*pairs, strict=True))
    apart = float(np.abs(positions[0][left] - positions[1][right]).max())
    scores = float(np.abs(expected.scores[left] - actual.scores[right]).max())
    # records round boxes to a thousandth of a pixel and scores to a millionth
    return (
        f"{len(pairs)} of {max(len(expected), len(actual))} boxes have a match, "
        f"{what}within {digits(max(apart, 0.001), 2)} px and {max(scores, 1e-6):.1g} of its score"
    )
