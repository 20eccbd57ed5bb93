"""Decoder ``dense``: decodes the heads of mmdet's one-stage detectors like ``predict_by_feat``. Numpy only.

Outputs, by name: ``logits`` [B, N, C], ``boxes`` [B, N, 4] (or four distributions of ``bins``), and for some heads
``factors`` [B, N], logits of centerness or objectness. The N candidates are ordered by level, fine to coarse, then row by
row; the priors of one cell are adjacent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from adaptrt import Decoder, ImageMeta, ModelError, ModelSpec
from adaptrt.vision.decoders.box_scores import clipped, larger
from adaptrt.vision.decoders.candidates import Candidates, FromCandidates
from adaptrt.vision.decoders.params import DetectionParams

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

_MAX_RATIO = abs(float(np.log(16 / 1000)))  # mmdet's limit on the scaling of an anchor


@dataclass(frozen=True)
class DenseParams(DetectionParams):
    """User thresholds, and properties of the head.

    - ``conf``: score threshold, 0 to 1; detections with higher scores are kept; mmdet's ``score_thr``
    - ``nms_pre``: maximum number of candidates per level before NMS, as in mmdet; 0 or less: all
    - ``padded``: boxes are clipped to the image with its padding, as in mmdet if the test pipeline pads
    - ``min_size``: before NMS, drop boxes whose width or height in pixels of the original image is not above this (mmdet's
      ``min_bbox_size``); negative: none
    - ``best_class``: use only the best class of a prior (YOLOX); otherwise every class above ``conf``
    - ``coding``: ``delta`` from anchors, ``distance`` to four sides, ``bins``: distributions of distances,
      ``center``: shift of the point, logarithm of the size
    - ``strides``: size of a cell in pixels, per level; ``anchors``: anchors of one cell, x1 y1 x2 y2 relative to its
      corner, per level; ``offset``: position of a point in its cell; ``means``, ``stds``: of deltas
    """

    RENAMED: ClassVar[Mapping[str, str]] = {**DetectionParams.RENAMED, "score_thr": "conf"}

    iou: float | None = 0.5
    max_det: int = 100
    nms_pre: int = 1000
    padded: bool = False
    min_size: float = 0.0
    best_class: bool = False
    coding: Literal["delta", "distance", "bins", "center"] = "delta"
    strides: tuple[int, ...] = (8, 16, 32)
    anchors: tuple[tuple[tuple[float, float, float, float], ...], ...] = ()
    offset: float = 0.0
    means: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    stds: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)

    @classmethod
    def upgrade(cls, params: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters of a version-1 spec: ``conf`` becomes the higher of its two thresholds."""
        old = dict(params)
        lowest = old.pop("score_thr", 0.0)
        return {**super().upgrade(old), "conf": max(old.get("conf", cls.conf), lowest)}


def read(
    outputs: Mapping[str, NDArray[Any]], metas: Sequence[ImageMeta], _spec: ModelSpec
) -> Mapping[str, NDArray[Any]]:
    for name in ("logits", "boxes"):
        if name not in outputs or outputs[name].ndim != 3 or len(outputs[name]) != len(metas):
            shapes = ", ".join(f"{key} {list(array.shape)}" for key, array in outputs.items())
            raise ModelError(
                f"Decoder 'dense' expects logits [B, N, C] and boxes [B, N, 4]; got {shapes or 'nothing'}."
            )
    return {name: outputs[name] for name in ("logits", "boxes", "factors") if name in outputs}


def candidates(
    outputs: Mapping[str, NDArray[Any]], meta: ImageMeta, _spec: ModelSpec, params: DenseParams
) -> Candidates:
    logits, factors = outputs["logits"], outputs.get("factors")
    priors, strides, levels = _priors(meta.input_size, params)
    if len(priors) != len(logits):
        raise ModelError(f"The heads return {len(logits)} candidates, but there are {len(priors)} priors.")
    scores = _sigmoid(logits)
    positions, labels = (
        np.concatenate(parts) for parts in zip(*_positions(scores, factors, levels, params), strict=True)
    )
    confidence = scores[positions, labels]
    if factors is not None:
        confidence = confidence * _sigmoid(factors[positions])
        keep = confidence > params.conf
        positions, labels, confidence = positions[keep], labels[keep], confidence[keep]
    boxes = _boxes(outputs["boxes"][positions], priors[positions], strides[positions], params)
    found = Candidates(boxes, confidence.astype(np.float32, copy=False), labels)
    if params.coding == "center":
        return found
    # before NMS, except for YOLOX
    return larger(clipped(found, meta, padded=params.padded), meta, params.min_size)


def _positions(
    scores: Floats, factors: Floats | None, levels: Sequence[slice], params: DenseParams
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Indices of priors and their classes, level by level. A factor only lowers a score, so ``conf`` holds for both."""
    if params.best_class:
        best = scores.argmax(1)
        confidence = scores[np.arange(len(scores)), best]
        if factors is not None:
            confidence = confidence * _sigmoid(factors)
        positions = np.flatnonzero(confidence > params.conf)
        yield positions, best[positions]
        return
    for level in levels:
        positions, labels = np.nonzero(scores[level] > params.conf)
        if 0 < params.nms_pre < len(positions):
            order = np.argsort(-scores[level][positions, labels], kind="stable")[: params.nms_pre]
            positions, labels = positions[order], labels[order]
        yield positions + level.start, labels


def _priors(size: tuple[int, int], params: DenseParams) -> tuple[Floats, Floats, list[slice]]:
    """Anchors [N, 4] or points [N, 2], the stride of each [N, 1], and the slice of each level."""
    priors, strides, levels, start = [], [], [], 0
    for number, stride in enumerate(params.strides):
        height, width = (-(-side // stride) for side in size)
        y, x = np.mgrid[:height, :width].astype(np.float32) * np.float32(stride)
        corner = np.stack([x.ravel(), y.ravel()], 1)  # (cells, 2)
        if params.anchors:
            anchors = np.array(params.anchors[number], np.float32)
            level = (np.concatenate([corner, corner], 1)[:, None] + anchors).reshape(-1, 4)
        else:
            level = corner + np.float32(params.offset * stride)
        priors.append(level)
        strides.append(np.full((len(level), 1), stride, np.float32))
        levels.append(slice(start, start + len(level)))
        start += len(level)
    return np.concatenate(priors), np.concatenate(strides), levels


def _boxes(raw: Floats, priors: Floats, strides: Floats, params: DenseParams) -> Floats:
    """x1 y1 x2 y2 in input pixels."""
    if params.coding == "delta":
        deltas = raw * np.array(params.stds, np.float32) + np.array(params.means, np.float32)
        size = priors[:, 2:] - priors[:, :2]
        center = (priors[:, :2] + priors[:, 2:]) * np.float32(0.5) + size * deltas[:, :2]
        half = size * np.exp(np.clip(deltas[:, 2:], -_MAX_RATIO, _MAX_RATIO)) * np.float32(0.5)
    elif params.coding == "center":
        center = raw[:, :2] * strides + priors
        half = np.exp(raw[:, 2:]) * strides * np.float32(0.5)
    else:
        if params.coding == "bins":
            bins = raw.shape[1] // 4
            odds = raw.reshape(-1, 4, bins)
            odds = np.exp(odds - odds.max(2, keepdims=True))
            raw = (odds / odds.sum(2, keepdims=True)) @ np.arange(bins, dtype=np.float32) * strides
        points = (priors[:, :2] + priors[:, 2:]) * np.float32(0.5) if priors.shape[1] == 4 else priors
        return np.concatenate([points - raw[:, :2], points + raw[:, 2:]], 1)
    return np.concatenate([center - half, center + half], 1)


def _sigmoid(logits: Floats) -> Floats:
    with np.errstate(over="ignore"):
        result: Floats = np.asarray(1 / (1 + np.exp(-logits.astype(np.float32, copy=False))), np.float32)
    return result


# classes are separated as in mmcv: each is offset by the extent of the boxes
decoder = Decoder("dense", DenseParams, FromCandidates(read, candidates, class_offset=None))
