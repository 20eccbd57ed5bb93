"""Agreement between two class maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt.contributions import Metric
from adaptrt.predictions import SemanticMap

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_IOU = 0.5  # of a class, in float32
MOST_CLASSES = 1 << 12  # the confusion matrix has its square
SMALLEST = 0.001  # share of all pixels: the IoU of a smaller class depends on a few boundary pixels


def confusion(expected: NDArray[Any], actual: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """Confusion matrix, int64 [classes, classes]: number of pixels by expected (row) and actual (column) class."""
    if expected.shape != actual.shape:
        raise ValueError(f"maps of {list(expected.shape)} and {list(actual.shape)} cannot be compared")
    pairs = expected.astype(np.int64).ravel() * classes + actual.ravel()
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def class_ious(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """IoU of each class; NaN if it occurs on neither side."""
    common = counts.diagonal().astype(np.float64)
    union = counts.sum(0) + counts.sum(1) - common
    ious = np.full_like(common, np.nan)
    np.divide(common, union, out=ious, where=union > 0)
    return ious


def pixel_accuracy(minimum: float) -> Metric:
    """The share of pixels, over all images, that have the same class."""

    def compute(reference: Sequence[SemanticMap], converted: Sequence[SemanticMap]) -> float | None:
        counts = _counts(reference, converted)
        return float(counts.diagonal().sum() / counts.sum()) if counts.any() else None

    return Metric(
        name="pixels of the same class",
        task="semantic",
        reason="the class may differ only where two classes are almost equally likely",
        compute=compute,
        minimum=minimum,
    )


def matched_classes(minimum: float) -> Metric:
    """The share of the classes that cover at least a thousandth of the pixels whose IoU is at least ``minimum``.

    Not for a reduced precision, which links 3 and 4 compare. A mean over many classes hides one that is wrong.
    """

    def compute(reference: Sequence[SemanticMap], converted: Sequence[SemanticMap]) -> float | None:
        ious = _large_class_ious(reference, converted)
        return float((ious >= minimum).mean()) if ious.size else None

    return Metric(
        name=f"classes with IoU {minimum:g}",
        task="semantic",
        reason="each class covers the same area; classes below 0.1 % of the pixels are ignored",
        compute=compute,
        minimum=1.0,
    )


def mean_iou(minimum: float) -> Metric:
    """The mean IoU of the classes that cover at least a thousandth of the pixels."""

    def compute(reference: Sequence[SemanticMap], converted: Sequence[SemanticMap]) -> float | None:
        ious = _large_class_ious(reference, converted)
        return float(ious.mean()) if ious.size else None

    return Metric(
        name="mIoU",
        task="semantic",
        reason="each class covers the same area; classes below 0.1 % of the pixels are ignored",
        compute=compute,
        minimum=minimum,
    )


def describe_agreement(expected: SemanticMap, actual: SemanticMap) -> str:
    if expected.labels.shape != actual.labels.shape:
        return "the two maps have different sizes"
    same = float((expected.labels == actual.labels).mean())
    return (
        "every pixel has the same class" if same == 1 else f"{min(same, 0.99999):.3%} of the pixels have the same class"
    )


def _large_class_ious(reference: Sequence[SemanticMap], converted: Sequence[SemanticMap]) -> NDArray[np.float64]:
    counts = _counts(reference, converted)
    union = counts.sum(0) + counts.sum(1) - counts.diagonal()
    ious: NDArray[np.float64] = class_ious(counts)[union >= max(SMALLEST * counts.sum(), 1)]
    return ious


def _counts(reference: Sequence[SemanticMap], converted: Sequence[SemanticMap]) -> NDArray[np.int64]:
    """The confusion matrix of the classes that occur: their numbers may be of any size."""
    occurring = [np.unique(one.labels) for one in (*reference, *converted)]
    known = np.unique(np.concatenate(occurring)) if occurring else np.zeros(0, np.int64)
    if len(known) > MOST_CLASSES:
        raise ValueError(f"maps of {len(known)} classes cannot be compared, only of {MOST_CLASSES}")
    counts = np.zeros((len(known), len(known)), np.int64)
    for expected, actual in zip(reference, converted, strict=True):
        first, second = (np.searchsorted(known, one.labels) for one in (expected, actual))
        counts += confusion(first, second, len(known))
    return counts
