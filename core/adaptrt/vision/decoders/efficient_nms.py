"""Detections of a graph that ends in NMS, in the output schema of TensorRT's EfficientNMS.

Outputs by name: ``num_dets`` int [B, 1], ``det_boxes`` [B, M, 4] x1 y1 x2 y2 in input pixels, ``det_scores`` [B, M],
``det_classes`` int [B, M], sorted by descending score; rows beyond ``num_dets`` are padding. ``nms_converged`` int [B, 1] is optional:
0 if Cluster-NMS stopped before its result was final. The names of EfficientNMS itself are read too
(``num_detections``, ``detection_boxes``, ``detection_scores``, ``detection_classes``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from adaptrt.errors import ModelError, UsageError
from adaptrt.specs.decoders import Decoder
from adaptrt.vision.decoders.candidates import Candidates, FromCandidates
from adaptrt.vision.decoders.outputs import check_batch, require_labels
from adaptrt.vision.decoders.params import DetectionParams

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from adaptrt.predictions import ImageMeta
    from adaptrt.specs import ModelSpec
    from adaptrt.specs.tensors import Arrays

SCHEMAS = (
    ("num_dets", "det_boxes", "det_scores", "det_classes"),
    ("num_detections", "detection_boxes", "detection_scores", "detection_classes"),
)
CONVERGED = "nms_converged"


@dataclass(frozen=True)
class EfficientNmsParams(DetectionParams):
    """Selection of the detections that the graph returns.

    - ``conf``: score threshold, 0 to 1; detections with higher scores are kept. Values below the graph's
      threshold have no effect
    - ``iou``: always ``null``, because NMS is part of the graph
    - ``agnostic``: has no effect, because NMS is part of the graph
    - ``clipped_to``: what the graph clips boxes to before NMS. ``input``: to the whole input, although the model expects them clipped to
      the image in it; images with padding are then reported
    """

    conf: float = 0.0
    iou: float | None = None
    clipped_to: Literal["image", "input"] = "image"

    def __post_init__(self) -> None:
        DetectionParams.__post_init__(self)
        if self.iou is not None:
            raise UsageError(
                "iou cannot be changed: NMS is in the graph.",
                hint="Convert again: adaptrt convert ... --set iou=0.5 --nms",
            )


def schema_of(names: Sequence[str]) -> tuple[str, ...] | None:
    """The names of the schema that these outputs have; ``None`` if they have neither."""
    return next((schema for schema in SCHEMAS if set(schema) <= set(names)), None)


def read(outputs: Arrays, metas: Sequence[ImageMeta], spec: ModelSpec) -> Arrays:
    return read_rows(outputs, metas, spec.decoder.name if spec.decoder else "efficient_nms")


def read_rows(outputs: Arrays, metas: Sequence[ImageMeta], decoder: str, width: int = 4) -> Arrays:
    """``count``, ``boxes``, ``scores`` and ``labels``, by whichever names; ``width``: how many numbers a box has."""
    schema = schema_of(list(outputs))
    if schema is None:
        raise ModelError(
            f"Decoder {decoder!r} expects {', '.join(SCHEMAS[0])}; this model has {', '.join(outputs) or 'no outputs'}."
        )
    found = {short: outputs[name] for short, name in zip(("count", "boxes", "scores", "labels"), schema, strict=True)}
    for short, name in zip(found, schema, strict=True):
        check_batch(name, found[short], metas)
    count, boxes, scores, labels = found.values()
    if (
        count.size != len(metas)
        or scores.ndim != 2
        or labels.shape != scores.shape
        or boxes.shape != (*scores.shape, width)
    ):
        shapes = ", ".join(f"{name} {list(outputs[name].shape)}" for name in schema)
        raise ModelError(
            f"Decoder {decoder!r} expects {schema[0]} [B, 1], {schema[1]} [B, M, {width}], {schema[2]} and {schema[3]} [B, M]; "
            f"got {shapes}."
        )
    return {**found, "count": count.reshape(-1, 1)}


def candidates(outputs: Arrays, _meta: ImageMeta, spec: ModelSpec, _params: EfficientNmsParams) -> Candidates:
    count = int(outputs["count"][0])
    scores = outputs["scores"]
    if not 0 <= count <= len(scores):
        raise ModelError(f"The graph returns {count} detections, but its outputs have only {len(scores)} rows.")
    labels = outputs["labels"][:count].astype(np.int64)
    require_labels(labels, spec)
    return Candidates(
        outputs["boxes"][:count].astype(np.float32, copy=False), scores[:count].astype(np.float32, copy=False), labels
    )


def batched(outputs: Arrays, spec: ModelSpec, _params: EfficientNmsParams) -> tuple[Candidates, NDArray[np.intp]]:
    counts, scores = outputs["count"].astype(np.int64), outputs["scores"]  # [B, 1], [B, M]
    most = scores.shape[1]
    for count in counts[(counts < 0) | (counts > most)].tolist()[:1]:
        raise ModelError(f"The graph returns {count} detections, but its outputs have only {most} rows.")
    image, place = np.nonzero(np.arange(most) < counts)
    labels = outputs["labels"][image, place].astype(np.int64)
    require_labels(labels, spec)
    boxes, found = (outputs[name][image, place].astype(np.float32, copy=False) for name in ("boxes", "scores"))
    return Candidates(boxes, found, labels), image


def rows_like(outputs: Arrays, name: str, decoder: str, scores: NDArray[Any]) -> NDArray[Any]:
    """An output [B, M, E] with as many rows as the scores."""
    rows = outputs.get(name)
    if rows is None:
        raise ModelError(f"Decoder {decoder!r} expects an output {name!r}; this model has {', '.join(outputs)}.")
    if rows.ndim != 3 or rows.shape[:2] != scores.shape:
        raise ModelError(
            f"Decoder {decoder!r} expects {name} [B, M, E] with the rows of det_scores; got {list(rows.shape)}."
        )
    return rows


def problems(outputs: Arrays, metas: Sequence[ImageMeta], spec: ModelSpec) -> list[str]:
    """Images whose NMS stopped before its result was final, or that have padding which the graph does not know of."""
    found = []
    if CONVERGED in outputs:
        flags = np.asarray(outputs[CONVERGED]).reshape(-1)
        which = _images(np.flatnonzero(flags == 0).tolist(), len(flags), "for")
        if which is not None:
            found.append(
                f"NMS in the graph did not converge{which}: boxes may be missing or duplicated. Convert again with more --nms-rounds."
            )
    if spec.decoder is not None and spec.decoder.params.get("clipped_to") == "input":
        which = _images([index for index, meta in enumerate(metas) if _has_padding(meta)], len(metas), "of")
        if which is not None:
            found.append(
                f"Boxes{which} that extend into the padding around it may be selected differently than without NMS in the graph, which "
                "does not know where padding begins. Use images that fill the input, or convert again without --nms."
            )
    return found


def _images(indices: Sequence[int], total: int, word: str) -> str | None:
    """A clause that names these images of a batch; ``None`` without any."""
    if not indices:
        return None
    return "" if total == 1 else f" {word} image {', '.join(str(index + 1) for index in indices)} of the batch"


def _has_padding(meta: ImageMeta) -> bool:
    """Whether the image covers less than the input, by more than rounding."""
    sides = zip(meta.original_size, meta.input_size, meta.scale, meta.offset, strict=True)
    return any(offset >= 1 or offset + side * scale <= whole - 1 for side, whole, scale, offset in sides)


decoder = Decoder(
    "efficient_nms",
    EfficientNmsParams,
    FromCandidates(read, candidates, selected=True, batched=batched),
    problems=problems,
)
