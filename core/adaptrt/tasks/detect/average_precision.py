"""Average precision as in PASCAL VOC since 2010: IoU above 0.5, area under the monotone curve."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_IOU = 0.5


def voc_average_precisions(
    truths: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]]
) -> dict[int, float]:
    """AP at IoU 0.5 by category id, for every category with objects. Inputs are COCO entries; a crowd is VOC's "difficult"."""
    found: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for result in results:
        found[result["category_id"]].append(result)
    objects: dict[int, dict[Any, list[Mapping[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for truth in truths:
        objects[truth["category_id"]][truth["image_id"]].append(truth)
    return {
        category: _one_class(by_image, sorted(found[category], key=lambda result: -result["score"]))
        for category, by_image in objects.items()
        if any(not truth.get("iscrowd") for entries in by_image.values() for truth in entries)
    }


def _one_class(objects: Mapping[Any, Sequence[Mapping[str, Any]]], results: Sequence[Mapping[str, Any]]) -> float:
    """Each result, best score first, is compared with the object that it overlaps most; an object is matched once."""
    boxes = {image: np.array([truth["bbox"] for truth in entries], float) for image, entries in objects.items()}
    taken = {image: [False] * len(entries) for image, entries in objects.items()}
    total = sum(not truth.get("iscrowd") for entries in objects.values() for truth in entries)
    hits: list[bool] = []
    for result in results:
        image = result["image_id"]
        if image not in boxes:
            hits.append(False)
            continue
        overlaps = _overlaps(np.array(result["bbox"], float), boxes[image])
        best = int(overlaps.argmax())
        if overlaps[best] <= _IOU:
            hits.append(False)
        elif not objects[image][best].get("iscrowd"):
            hits.append(not taken[image][best])
            taken[image][best] = True
    return area_under_curve(hits, total)


def area_under_curve(hits: Sequence[bool], total: int) -> float:
    """Average precision of results, best score first, of which some are right, where there are ``total`` objects."""
    if not len(hits):
        return 0.0
    right = np.cumsum(hits)
    precision, recall = right / np.arange(1, len(hits) + 1), right / total
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.diff(recall, prepend=0.0)
    return float((envelope * steps).sum())


def _overlaps(box: NDArray[np.float64], boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU of x y w h with each of [N, 4]."""
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[:2] + box[2:], boxes[:, :2] + boxes[:, 2:])
    common = np.clip(high - low, 0, None).prod(1)
    areas: NDArray[np.float64] = common / np.maximum(box[2:].prod() + boxes[:, 2:].prod(1) - common, 1e-12)
    return areas
