"""Instance segmentation with query-based masks, as in Mask2Former: each query has scores, and one mask of the entire image.

The outputs are ``scores`` [B, Q, C], without the background, and ``masks`` [B, Q, h, w], logits. As in mmdet, the best pairs of
query and class are objects; a score is multiplied by the mean probability of the pixels of its mask, and the box encloses
the mask. There is no NMS.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from adaptrt.errors import ModelError, UsageError
from adaptrt.predictions import Mask, Segments
from adaptrt.specs.decoders import Decoder
from adaptrt.vision.decoders.candidates import Candidates, FromCandidates
from adaptrt.vision.decoders.outputs import check_batch, require_outputs
from adaptrt.vision.decoders.params import DetectionParams, check_count
from adaptrt.vision.enlarged_masks import enlarged_mask, linear_resize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from adaptrt.predictions import ImageMeta
    from adaptrt.specs import ModelSpec
    from adaptrt.specs.tensors import Arrays

    Floats = NDArray[np.float32]


@dataclass(frozen=True)
class QueryMasksParams(DetectionParams):
    """Selection of the pairs of query and class.

    - ``conf``: score threshold, 0 to 1; objects with higher scores are kept
    - ``iou``: always ``null``: queries are not suppressed
    - ``max_det``: maximum number of objects per image
    - ``agnostic``: has no effect
    - ``classes``: keep only these classes, by index or label; default: all
    - ``pairs``: number of highest-scoring pairs of query and class that can become objects
    - ``things``: number of classes that have instances, which come first; default: all
    """

    iou: float | None = None
    max_det: int = 100
    pairs: int = 100
    things: int | None = None

    def __post_init__(self) -> None:
        DetectionParams.__post_init__(self)
        if self.iou is not None:
            raise UsageError("Decoder 'query_masks' has no NMS.", hint="Omit iou, or: --set iou=null")
        check_count("pairs", self.pairs)


def read(outputs: Arrays, metas: Sequence[ImageMeta], _spec: ModelSpec) -> Arrays:
    require_outputs(outputs, ("scores", "masks"), "query_masks")
    scores, masks = outputs["scores"], outputs["masks"]
    check_batch("scores", scores, metas)
    check_batch("masks", masks, metas)
    if scores.ndim != 3 or masks.ndim != 4 or scores.shape[1] != masks.shape[1]:
        raise ModelError(
            "Decoder 'query_masks' expects scores [B, Q, C] and masks [B, Q, h, w]; got "
            f"{list(scores.shape)}, {list(masks.shape)}."
        )
    return {"scores": scores, "masks": masks}


def candidates(outputs: Arrays, meta: ImageMeta, _spec: ModelSpec, params: QueryMasksParams) -> Candidates:
    scores = outputs["scores"].astype(np.float32, copy=False)
    classes = scores.shape[1]
    best = np.argsort(-scores.ravel(), kind="stable")[: params.pairs]
    labels = best % classes
    wanted = scores.ravel()[best] > params.conf  # a mean probability is at most 1
    if params.things is not None:
        wanted &= labels < params.things
    best, labels = best[wanted], labels[wanted]
    queries, of_query = np.unique(best // classes, return_inverse=True)
    size = (int(outputs["masks"].shape[1]), int(outputs["masks"].shape[2]))
    down, across = _enlargements(meta, size)
    found = [
        _object(outputs["masks"][query].astype(np.float32, copy=False), down, across) for query in queries.tolist()
    ]
    masks = np.empty(len(found), object)
    masks[:] = [mask for mask, _ in found]
    boxes = np.array([_box(mask) for mask in masks], np.float32).reshape(-1, 4)
    quality = np.array([mean for _, mean in found], np.float32)
    return Candidates(
        boxes[of_query], scores.ravel()[best] * quality[of_query], labels, {"masks": masks[of_query]}, mapped=True
    )


def _object(logits: Floats, down: Floats, across: Floats) -> tuple[Mask, float]:
    """The mask of a query, and its mean probability."""
    mask, enlarged = enlarged_mask(logits, down, across)
    inside = enlarged[mask.bitmap]
    return mask, float((1 / (1 + np.exp(-inside))).sum() / (np.float32(len(inside)) + np.float32(1e-6)))


def _box(mask: Mask) -> tuple[int, int, int, int]:
    height, width = mask.bitmap.shape
    return mask.left, mask.top, mask.left + width, mask.top + height


@functools.lru_cache(maxsize=16)
def _enlargements(meta: ImageMeta, size: tuple[int, int]) -> tuple[Floats, Floats]:
    """Matrices that resize rows and columns of a mask to the original image: [H, h] and [W, w].

    Twice linear, as mmdet: to the input, of which padding is cut off, then to the image.
    """
    found = []
    for original, given, scale, own in zip(meta.original_size, meta.input_size, meta.scale, size, strict=True):
        image = min(round(original * scale), given)
        found.append(linear_resize(image, original) @ linear_resize(own, given)[:image])
    return found[0], found[1]


def predict(found: Candidates, _outputs: Arrays, meta: ImageMeta, spec: ModelSpec) -> Segments:
    labels = found.labels.astype(np.int64, copy=False)
    return Segments(found.boxes, found.scores, labels, spec.labels, tuple(found.extras["masks"]), meta.original_size)


decoder = Decoder(
    "query_masks",
    QueryMasksParams,
    FromCandidates(read, candidates, predict=predict, sized=True),
    task="segment",
)
