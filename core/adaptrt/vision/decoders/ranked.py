"""Detections from boxes that a runner has selected and sorted, in the form of ``specs.runners.StartedRun.ranked``.

The results are those of the decoder that the filter of the boxes comes from, bit for bit, without its work in NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from adaptrt.predictions import Detections
from adaptrt.vision.boxes import mapped_boxes, mapping_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.predictions import ImageMeta
    from adaptrt.specs.layouts import BoxFilter


def ranked_detections(
    rows: NDArray[np.float32], metas: Sequence[ImageMeta], boxes: BoxFilter, names: tuple[str, ...]
) -> list[Detections]:
    """``rows``: float32 [B, N, 6], of at least as many images as ``metas``; ``boxes``: the filter that selected them.

    A single image, as in calls of many threads, takes fewer calls of NumPy than a batch.
    """
    conf, most = boxes.conf, boxes.max_det
    if len(metas) == 1:
        return [_of_image(rows[0, :most], mapping_of(metas[0]), conf, names)]
    rows = rows[: len(metas), :most]
    mapping = np.stack([mapping_of(meta) for meta in metas])[:, None]
    mapped = mapped_boxes(rows[..., :4], mapping)
    scores, labels = np.ascontiguousarray(rows[..., 4]), rows[..., 5].astype(np.int64)
    counts = np.count_nonzero(scores > conf, axis=1).tolist()
    return [
        Detections(mapped[image, :count], scores[image, :count], labels[image, :count], names)
        for image, count in enumerate(counts)
    ]


def _of_image(
    rows: NDArray[np.float32], mapping: NDArray[np.float32], conf: float, names: tuple[str, ...]
) -> Detections:
    scores = rows[:, 4].copy()
    count = np.count_nonzero(scores > conf)
    if count < len(scores):  # those after it are zeros
        rows, scores = rows[:count], scores[:count]
    return Detections(mapped_boxes(rows[:, :4], mapping), scores, rows[:, 5].astype(np.int64), names)
