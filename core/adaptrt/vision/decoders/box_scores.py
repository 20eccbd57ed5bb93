"""Boxes in input pixels and a score for every class, before NMS: the input format of EfficientNMS, which many detectors can return.

Two outputs, with these names or shapes: ``boxes`` [B, N, 4] x1 y1 x2 y2, ``scores`` [B, N, C] between 0 and 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt.errors import ModelError
from adaptrt.options import fill_options
from adaptrt.specs.decoders import Decoder
from adaptrt.specs.layouts import BoxLayout, Part
from adaptrt.vision.decoders.candidates import Candidates, FromCandidates
from adaptrt.vision.decoders.outputs import check_batch
from adaptrt.vision.decoders.params import DetectionParams

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from adaptrt.predictions import ImageMeta
    from adaptrt.specs import ModelSpec
    from adaptrt.specs.tensors import Arrays

_OUTPUTS = ("boxes", "scores")


@dataclass(frozen=True)
class BoxScoresParams(DetectionParams):
    """Selection of the pairs of box and class.

    - ``best_class``: use only the best class of a box; otherwise every class above ``conf``
    - ``clip``: clip boxes to the image before NMS, as in mmdet
    - ``padded``: ``clip`` clips to the image with its padding, as in mmdet if the test pipeline pads
    - ``clipped``: the network itself returns boxes clipped to the image without its padding, which it recognizes
    - ``min_size``: before NMS, drop boxes whose width or height in pixels of the original image is not above this; negative: none;
      default: 0 with ``clip``, otherwise none
    """

    best_class: bool = False
    clip: bool = False
    padded: bool = False
    clipped: bool = False
    min_size: float | None = None

    @property
    def smallest(self) -> float:
        """``min_size``, or its default."""
        default = 0.0 if self.clip else -1.0
        return default if self.min_size is None else self.min_size


def read(outputs: Arrays, metas: Sequence[ImageMeta], spec: ModelSpec) -> Arrays:
    names = _names({name: array.shape for name, array in outputs.items()})
    for name in names:
        check_batch(name, outputs[name], metas)
    boxes, scores = (outputs[name] for name in names)
    if scores.ndim != 3 or boxes.shape != (*scores.shape[:2], 4):
        shapes = f"{names[0]} {list(boxes.shape)}, {names[1]} {list(scores.shape)}"
        raise ModelError(f"Decoder 'box_scores' expects boxes [B, N, 4] and scores [B, N, C]; got {shapes}.")
    if spec.labels and scores.shape[2] != len(spec.labels):
        raise ModelError(
            f"Output {names[1]!r} has {scores.shape[2]} classes, but the spec has {len(spec.labels)} labels.",
            hint="Specify one label per class.",
        )
    return {"boxes": boxes, "scores": scores}


def candidates(outputs: Arrays, _meta: ImageMeta, _spec: ModelSpec, params: BoxScoresParams) -> Candidates:
    indices, labels = selected(outputs["scores"], params)
    boxes = outputs["boxes"][indices].astype(np.float32, copy=False)
    return Candidates(boxes, outputs["scores"][indices, labels].astype(np.float32, copy=False), labels)


def selected(scores: NDArray[Any], params: BoxScoresParams) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Boxes and classes of the pairs of ``scores`` [N, C] above ``conf``, or of the best of each box."""
    if params.best_class:
        indices = np.flatnonzero(scores.max(axis=1) > params.conf)
        return indices, scores[indices].argmax(axis=1) if len(indices) else np.empty(0, np.int64)
    indices, labels = np.nonzero(scores > params.conf)
    return indices, labels


def prepare(found: Candidates, meta: ImageMeta, params: BoxScoresParams) -> Candidates:
    if params.clip:
        found = clipped(found, meta, padded=params.padded)
    return larger(found, meta, params.smallest)


def clipped(found: Candidates, meta: ImageMeta, *, padded: bool) -> Candidates:
    """With boxes clipped to the image, or to the input tensor."""
    if not padded:
        return found.in_image(meta)
    height, width = meta.input_size
    boxes = np.clip(found.boxes, 0, np.array([width, height, width, height], np.float32))
    return Candidates(boxes, found.scores, found.labels, found.extras)


def larger(found: Candidates, meta: ImageMeta, smallest: float) -> Candidates:
    """Those whose width and height, in pixels of the original image, are above ``smallest``; all if that is negative."""
    if smallest < 0:
        return found
    sides = found.boxes[:, 2:] - found.boxes[:, :2]
    if not found.mapped:
        sides /= np.array(meta.scale[::-1], np.float32)
    return found.at(np.flatnonzero((sides > smallest).all(axis=1)))


def layout(spec: ModelSpec) -> BoxLayout:
    boxes, scores = _names({output.name: output.dims for output in spec.outputs})
    params = fill_options(BoxScoresParams, dict(spec.decoder.params) if spec.decoder else {})
    return BoxLayout(
        Part(boxes),
        Part(scores),
        multi_label=not params.best_class,
        clip="nothing" if not params.clip else "input" if params.padded or params.clipped else "image",
        drop_empty=params.smallest >= 0,
    )


def _names(shapes: Mapping[str, Sequence[int | str]]) -> tuple[str, str]:
    """Which output holds the boxes, and which the scores: by name, else the first whose last axis is 4 holds the boxes."""
    if all(name in shapes for name in _OUTPUTS):
        return _OUTPUTS
    if len(shapes) != 2:
        raise ModelError(
            f"Decoder 'box_scores' expects boxes and scores; this model has {', '.join(shapes) or 'no outputs'}."
        )
    first, second = shapes
    dims = shapes[first]
    return (first, second) if dims and dims[-1] == 4 else (second, first)


decoder = Decoder(
    "box_scores",
    BoxScoresParams,
    FromCandidates(read, candidates, prepare=prepare, class_offset=None, layout=layout),
)
