"""Selects and maps the boxes of all images of a batch at once, with the results of one image after another."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt.vision.boxes import boxes_to_original, mapped_boxes, mapping_of
from adaptrt.vision.decoders.select import Selection, select
from adaptrt.vision.nms import MAX_CANDIDATES, PAIRS, moved_by_class, nms_of_groups, nms_of_pairs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from adaptrt.predictions import ImageMeta
    from adaptrt.vision.decoders.candidates import Candidates

_ROUNDS = 64  # of NMS for all images together; crowded ones go image by image


def select_in_batch(
    candidates: Candidates, image: NDArray[np.intp], images: int, selection: Selection
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices of the candidates to keep, image by image, as ``select`` gives them, and how many of each image.

    ``image``: the image of each candidate, ascending. ``selection`` without ``suppress``.
    """
    iou, max_det, class_offset = selection.iou, selection.max_det, selection.class_offset
    one_by_one = partial(_one_after_another, candidates, image, images, selection)
    if iou is not None and class_offset is None and not selection.agnostic:  # it depends on the boxes of each image
        return one_by_one()
    scores, keep = candidates.scores, selection.confident(candidates)
    indices = keep.nonzero()[0]
    if len(indices) < len(keep):
        scores, image = scores[indices], image[indices]
    order, counts = np.lexsort((-scores, image)), np.bincount(image, minlength=images)
    image, order = image[order], indices[order]
    if iou is None or not len(order):
        return _first_of_each(order, counts, max_det)
    if int(counts.max()) > MAX_CANDIDATES:
        return one_by_one()
    boxes, labels = candidates.boxes[order], candidates.labels[order]
    if not selection.agnostic:
        boxes = moved_by_class(boxes, labels, np.float32(class_offset))
    if len(order) <= PAIRS:
        stays = nms_of_pairs(boxes, image, iou)
        return _first_of_each(order[stays], np.bincount(image[stays], minlength=images), max_det)
    group: NDArray[Any] = image
    ranks: Any = slice(None)
    if not selection.agnostic and _are_apart(candidates.boxes, class_offset):
        group = image * (int(labels.max(initial=0)) + 1) + labels
        ranks = np.argsort(group, kind="stable")
    stays = np.zeros(len(order), np.bool_)
    found = nms_of_groups(boxes[ranks], group[ranks], iou, _ROUNDS)
    if found is None:
        return one_by_one()
    stays[ranks] = found
    return _first_of_each(order[stays], np.bincount(image[stays], minlength=images), max_det)


def _are_apart(boxes: NDArray[np.float32], class_offset: float | None) -> bool:
    """Whether boxes of different classes cannot overlap once they are moved: then only those of the same class are compared."""
    if class_offset is None or not len(boxes):
        return False
    return bool(np.ptp(boxes[:, 0::2]) < class_offset - 1)


def _first_of_each(
    order: NDArray[np.intp], counts: NDArray[np.intp], most: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """At most ``most`` of each image."""
    if len(order) <= most or int(counts.max()) <= most:
        return order, counts
    ranks = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    return order[ranks < most], np.minimum(counts, most)


def _one_after_another(
    candidates: Candidates, image: NDArray[np.intp], images: int, selection: Selection
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    ends = np.searchsorted(image, np.arange(images + 1))
    found = [select(candidates.at(slice(start, end)), selection) + start for start, end in pairwise(ends.tolist())]
    return np.concatenate(found), np.array(list(map(len, found)), np.intp)


def boxes_in_images(
    boxes: NDArray[np.float32], counts: NDArray[np.intp], metas: Sequence[ImageMeta]
) -> NDArray[np.float32]:
    """``boxes_to_original`` for the boxes of several images, image by image."""
    if not len(boxes):
        return boxes
    if all(meta is metas[0] for meta in metas):
        return boxes_to_original(boxes, metas[0])
    return mapped_boxes(boxes, np.repeat(np.stack([mapping_of(meta) for meta in metas]), counts, axis=0))
