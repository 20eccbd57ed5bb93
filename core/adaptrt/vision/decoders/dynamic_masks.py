"""Instance segmentation by dynamic mask kernels, as in RTMDet-Ins: each object has a small network, applied to shared features.

The outputs of ``box_scores``; ``kernels`` [B, N, P], the parameters of each candidate's 1 x 1 convolutions (the weights of all
layers, then the biases); and ``mask_features`` [B, F, h, w]. Candidates are ordered by level, fine to coarse, then row by row. The
convolutions read the position relative to the candidate's point (x and y, in eighths of the stride of its level), then the
features. Masks are not cropped to the boxes.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from adaptrt.errors import ModelError, UsageError
from adaptrt.options import fill_options
from adaptrt.predictions import Segments
from adaptrt.specs.decoders import Decoder
from adaptrt.vision.decoders import box_scores
from adaptrt.vision.decoders.box_scores import BoxScoresParams
from adaptrt.vision.decoders.candidates import Candidates, FromCandidates
from adaptrt.vision.decoders.outputs import check_batch, require_outputs
from adaptrt.vision.enlarged_masks import enlarged_mask, linear_resize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from adaptrt.predictions import ImageMeta
    from adaptrt.specs import ModelSpec
    from adaptrt.specs.tensors import Arrays

    Floats = NDArray[np.float32]

_EXTENT = 8  # strides: what a relative position of 1 means


@dataclass(frozen=True)
class DynamicMasksParams(BoxScoresParams):
    """Selection of the pairs of box and class, and properties of the head.

    - ``mask_threshold``: minimum probability of a mask's pixels, above 0 and below 1
    - ``strides``: size of a cell in pixels, per level; the mask features have the first
    - ``offset``: position of a point in its cell
    - ``layers``, ``channels``: number of convolutions, and of channels between them
    """

    clip: bool = True
    mask_threshold: float = 0.5
    strides: tuple[int, ...] = (8, 16, 32)
    offset: float = 0.0
    layers: int = 3
    channels: int = 8

    def __post_init__(self) -> None:
        BoxScoresParams.__post_init__(self)
        if not 0 < self.mask_threshold < 1:
            raise UsageError(
                f"mask_threshold must be above 0 and below 1; got {self.mask_threshold}.",
                hint="For example: --set mask_threshold=0.5",
            )

    def widths(self, features: int) -> list[tuple[int, int]]:
        """Inputs and outputs of each convolution."""
        sizes = [features + 2, *[self.channels] * (self.layers - 1), 1]
        return list(itertools.pairwise(sizes))


def read(outputs: Arrays, metas: Sequence[ImageMeta], spec: ModelSpec) -> Arrays:
    require_outputs(outputs, ("boxes", "scores", "kernels", "mask_features"), "dynamic_masks")
    found = box_scores.read({name: outputs[name] for name in ("boxes", "scores")}, metas, spec)
    kernels, features = outputs["kernels"], outputs["mask_features"]
    check_batch("kernels", kernels, metas)
    check_batch("mask_features", features, metas)
    if features.ndim != 4 or kernels.ndim != 3 or kernels.shape[1] != found["scores"].shape[1]:
        raise ModelError(
            "Decoder 'dynamic_masks' expects kernels [B, N, P] for the N boxes, and mask_features [B, F, h, w]; got "
            f"{list(kernels.shape)}, {list(features.shape)}."
        )
    return {**found, "kernels": kernels, "mask_features": features}


def candidates(outputs: Arrays, meta: ImageMeta, _spec: ModelSpec, params: DynamicMasksParams) -> Candidates:
    kernels = outputs["kernels"]
    expected = sum(before * after + after for before, after in params.widths(len(outputs["mask_features"])))
    if kernels.shape[1] != expected:
        raise ModelError(
            f"A kernel has {kernels.shape[1]} parameters; {params.layers} convolutions with {params.channels} channels on "
            f"{len(outputs['mask_features'])} features have {expected}."
        )
    points = _points(meta.input_size, params.strides, params.offset)
    if len(points) != len(kernels):
        raise ModelError(f"The network returns {len(kernels)} candidates, but there are {len(points)} cells.")
    indices, labels = box_scores.selected(outputs["scores"], params)
    return Candidates(
        outputs["boxes"][indices].astype(np.float32, copy=False),
        outputs["scores"][indices, labels].astype(np.float32, copy=False),
        labels,
        {"kernels": kernels[indices].astype(np.float32, copy=False), "points": points[indices]},
    )


@functools.lru_cache(maxsize=16)
def _points(size: tuple[int, int], strides: tuple[int, ...], offset: float) -> Floats:
    """float32 [N, 3]: x and y of the point of each candidate, in pixels, and its stride."""
    levels = []
    for stride in strides:
        y, x = np.mgrid[: -(-size[0] // stride), : -(-size[1] // stride)].astype(np.float32)
        levels.append(
            np.stack([(x + offset) * stride, (y + offset) * stride, np.full_like(x, stride)], -1).reshape(-1, 3)
        )
    return np.concatenate(levels)


def predict(found: Candidates, outputs: Arrays, meta: ImageMeta, spec: ModelSpec) -> Segments:
    params = fill_options(DynamicMasksParams, dict(spec.decoder.params) if spec.decoder else {})
    features = outputs["mask_features"].astype(np.float32, copy=False)
    size = (int(features.shape[1]), int(features.shape[2]))
    down, across = _enlargements(meta, size, params.strides[0])
    level = np.float32(math.log(params.mask_threshold / (1 - params.mask_threshold)))
    masks = tuple(
        enlarged_mask(mask_logits(kernel, point, features, params) - level, down, across)[0]
        for kernel, point in zip(found.extras["kernels"], found.extras["points"], strict=True)
    )
    labels = found.labels.astype(np.int64, copy=False)
    return Segments(found.boxes, found.scores, labels, spec.labels, masks, meta.original_size)


def mask_logits(kernel: Floats, point: Floats, features: Floats, params: DynamicMasksParams) -> Floats:
    """float32 [h, w] of one object. ``kernel``: [P]; ``point``: x, y, stride; ``features``: [F, h, w]."""
    count, height, width = features.shape
    first, extent = params.strides[0], np.float32(_EXTENT) * point[2]
    across = (point[0] - (np.arange(width, dtype=np.float32) + params.offset) * first) / extent
    down = (point[1] - (np.arange(height, dtype=np.float32) + params.offset) * first) / extent
    values = np.concatenate(
        [np.broadcast_to(across, (1, height, width)), np.broadcast_to(down[:, None], (1, height, width)), features]
    ).reshape(count + 2, -1)
    widths = params.widths(count)
    weight, bias = 0, sum(before * after for before, after in widths)
    for number, (before, after) in enumerate(widths):
        matrix = kernel[weight : weight + before * after].reshape(after, before)
        values = matrix @ values + kernel[bias : bias + after, None]
        if number < len(widths) - 1:
            values = np.maximum(values, 0)
        weight, bias = weight + before * after, bias + after
    found: Floats = values.reshape(height, width)
    return found


@functools.lru_cache(maxsize=16)
def _enlargements(meta: ImageMeta, size: tuple[int, int], stride: int) -> tuple[Floats, Floats]:
    """Matrices that resize rows and columns of the mask features to the original image: [H, h] and [W, w].

    Twice linear, as mmdet: to the input, then to the image. mmdet 3.3 takes the scale of the other axis in the second step;
    both are equal up to the rounding of the resized image to whole pixels.
    """
    found = []
    for original, scale, own in zip(meta.original_size, reversed(meta.scale), size, strict=True):
        side = own * stride
        first = linear_resize(own, side)
        found.append(linear_resize(side, math.ceil(side * (1 / scale)))[:original] @ first)
    return found[0], found[1]


decoder = Decoder(
    "dynamic_masks",
    DynamicMasksParams,
    FromCandidates(read, candidates, prepare=box_scores.prepare, predict=predict, class_offset=None, sized=True),
    task="segment",
)
