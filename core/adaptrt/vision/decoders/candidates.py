"""Converts candidates to predictions, the common part of box decoders.

A box decoder only interprets the outputs of its network: ``read`` checks the outputs of a batch, ``candidates`` converts
those of one image to boxes, scores and labels. Filtering, NMS and mapping to the original image are shared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt.predictions import Detections, ImageMeta
from adaptrt.specs.layouts import BoxLayout
from adaptrt.vision.boxes import boxes_to_original, corners_from_centers
from adaptrt.vision.decoders.batch import boxes_in_images, select_in_batch
from adaptrt.vision.decoders.params import DetectionParams, class_filter
from adaptrt.vision.decoders.select import Selection, Suppress, select
from adaptrt.vision.nms import CLASS_OFFSET

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.specs import ModelSpec
    from adaptrt.specs.tensors import Arrays


@dataclass(slots=True, eq=False)  # frozen, it would take three times as long to make
class Candidates:
    """Boxes of one image that may be objects, in any order.

    ``boxes``: float32 [N, 4], x1 y1 x2 y2, input pixels; pixels of the original image, clipped to it, if ``mapped``.
    ``scores``: float32 [N]. ``labels``: int [N]. ``extras``: anything else by name, its first axis N (mask coefficients,
    keypoints); it goes with its box.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    extras: Arrays = field(default_factory=dict)
    mapped: bool = False

    def __len__(self) -> int:
        return len(self.scores)

    def at(self, indices: NDArray[Any] | slice) -> Candidates:
        """Those at these indices, in a slice, or where a mask is true."""
        extras = {name: values[indices] for name, values in self.extras.items()} if self.extras else {}
        return Candidates(self.boxes[indices], self.scores[indices], self.labels[indices], extras, self.mapped)

    def in_image(self, meta: ImageMeta) -> Candidates:
        """With boxes in pixels of the original image, clipped to it."""
        if self.mapped:
            return self
        return Candidates(boxes_to_original(self.boxes, meta), self.scores, self.labels, self.extras, mapped=True)


def detections(found: Candidates, outputs: Arrays, meta: ImageMeta, spec: ModelSpec) -> Detections:  # noqa: ARG001
    """The selected candidates as ``Detections``, without extras."""
    return Detections(found.boxes, found.scores, found.labels.astype(np.int64, copy=False), spec.labels)


@dataclass(frozen=True)
class FromCandidates:
    """The ``decode`` function of a box decoder.

    - ``read(outputs, metas, spec)``: the required outputs, by name, batch first; a ``ModelError`` if they are invalid
    - ``candidates(outputs, meta, spec, params)``: the candidates of one image, whose outputs have no batch axis. It may
      skip candidates that ``params.conf`` excludes, and should if that saves work.
    - ``prepare(candidates, meta, params)``: the candidates that enter selection, for what cannot be done without the image,
      such as clipping. NMS inside the graph does what ``layout`` says of it (``clip``, ``drop_empty``), and link 2 compares that with
      this function on images that fill the input
    - ``predict(found, outputs, meta, spec)``: the prediction from the selected candidates, boxes in the original image
    - ``class_offset``: how NMS separates classes, see ``Selection``
    - ``suppress``: NMS for boxes that are not upright, see ``Selection``
    - ``layout(spec)``: where the outputs hold boxes and scores, for NMS inside the graph (``convert --nms``), and for runners that
      leave other boxes on the device; without it, or if it returns ``None``, ``--nms`` is an error
    - ``selected``: the graph already applies NMS, so results are compared as sets
    - ``sized``: predictions depend on the size of the input, as masks made of prototypes do, which cover it
    - ``batched(outputs, spec, params)``: the candidates of all images of a batch, image by image, and the image of each, int [N].
      They are those of ``candidates``; without ``predict``, ``prepare`` and ``suppress``, several images are then decoded at once
    """

    read: Callable[[Arrays, Sequence[ImageMeta], ModelSpec], Arrays]
    candidates: Callable[[Arrays, ImageMeta, ModelSpec, Any], Candidates]
    predict: Callable[[Candidates, Arrays, ImageMeta, ModelSpec], Any] = detections
    prepare: Callable[[Candidates, ImageMeta, Any], Candidates] | None = None
    class_offset: float | None = CLASS_OFFSET
    suppress: Suppress | None = None
    layout: Callable[[ModelSpec], BoxLayout | None] | None = None
    selected: bool = False
    sized: bool = False
    batched: Callable[[Arrays, ModelSpec, Any], tuple[Candidates, NDArray[np.intp]]] | None = None

    @property
    def task(self) -> str:
        """The task of the predictions, for core's ``predict``."""
        return "detect" if self.predict is detections else ""

    @property
    def at_once(self) -> bool:
        """Whether all images of a batch are decoded at once, with the NMS of ``adaptrt.vision.nms``."""
        return (
            self.batched is not None and self.predict is detections and self.prepare is None and self.suppress is None
        )

    def __call__(
        self, outputs: Arrays, metas: Sequence[ImageMeta], spec: ModelSpec, params: DetectionParams
    ) -> list[Any]:
        batch, selection = self.read(outputs, metas, spec), self.selection(spec, params)
        if len(metas) != 1 and self.at_once and self.batched is not None:
            batch = {name: _in_single(array) for name, array in batch.items()}
            candidates, image = self.batched(batch, spec, params)
            return _decoded_at_once(candidates, image, metas, spec, selection)
        found = []
        for index, meta in enumerate(metas):
            sample = {name: _in_single(array[index]) for name, array in batch.items()}
            candidates = self.candidates(sample, meta, spec, params)
            if self.prepare is not None:
                candidates = self.prepare(candidates, meta, params)
            kept = select(candidates, selection)
            found.append(self.predict(candidates.at(kept).in_image(meta), sample, meta, spec))
        return found

    def selection(self, spec: ModelSpec, params: DetectionParams) -> Selection:
        """What is kept of the candidates."""
        return Selection(
            conf=params.conf,
            iou=params.iou,
            max_det=params.max_det,
            agnostic=params.agnostic,
            classes=class_filter(params.classes, spec.labels),
            class_offset=self.class_offset,
            suppress=self.suppress,
        )


def _in_single(array: NDArray[Any]) -> NDArray[Any]:
    """Half-precision outputs are compared and multiplied in float32, with the same result wherever it is done."""
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _decoded_at_once(
    candidates: Candidates,
    image: NDArray[np.intp],
    metas: Sequence[ImageMeta],
    spec: ModelSpec,
    selection: Selection,
) -> list[Any]:
    kept, counts = select_in_batch(candidates, image, len(metas), selection)
    found = candidates.at(kept)
    boxes = found.boxes if found.mapped else boxes_in_images(found.boxes, counts, metas)
    scores, labels, names = found.scores, found.labels.astype(np.int64, copy=False), spec.labels
    results, start = [], 0
    for count in counts.tolist():
        part = slice(start, start + count)
        results.append(Detections(boxes[part], scores[part], labels[part], names))
        start += count
    return results


def best_class(centers: NDArray[np.float32], scores: NDArray[np.float32]) -> Candidates:
    """``centers``: float32 [n, 4], cx cy w h, input pixels. ``scores``: float32 [n, nc]. Only the best class counts."""
    best = scores.argmax(axis=1) if len(scores) else np.empty(0, np.int64)
    return Candidates(corners_from_centers(centers), scores[np.arange(len(scores)), best], best)
