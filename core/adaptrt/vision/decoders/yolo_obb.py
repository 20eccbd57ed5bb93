"""Ultralytics' output format for rotated boxes.

One output of rows (``yolo_rows``) with one additional value, the angle in radians. In every layout, boxes are center x and y,
width and height, in input pixels; the angle is the direction of the width.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt.predictions import RotatedDetections, corners_of
from adaptrt.specs.decoders import Decoder
from adaptrt.vision.decoders.candidates import Candidates, FromCandidates
from adaptrt.vision.decoders.outputs import first_output
from adaptrt.vision.decoders.yolo_rows import RowParams, candidates_of, check_rows, layout_of
from adaptrt.vision.rotated import rotated_nms_by_class

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from adaptrt.predictions import ImageMeta
    from adaptrt.specs import ModelSpec
    from adaptrt.specs.layouts import BoxLayout
    from adaptrt.specs.tensors import Arrays


def read(outputs: Arrays, metas: Sequence[ImageMeta], spec: ModelSpec) -> Arrays:
    name, raw = first_output(outputs, "yolo_obb", metas)
    check_rows(name, raw.shape, rows_of(spec), len(spec.labels), 1, "yolo_obb")
    return {"raw": raw}


def candidates(outputs: Arrays, _meta: ImageMeta, _spec: ModelSpec, params: RowParams) -> Candidates:
    found, angles = candidates_of(outputs["raw"], params.rows, 1, params.conf, centers=True)
    rotated = np.concatenate((found.boxes, angles), axis=1)  # [n, 5]
    return Candidates(upright(rotated), found.scores, found.labels, {"rotated": rotated})


def suppress(found: Candidates, iou: float, max_det: int, agnostic: bool) -> NDArray[np.int64]:
    return rotated_nms_by_class(
        found.extras["rotated"], found.scores, found.labels, iou=iou, max_det=max_det, agnostic=agnostic
    )


def predict(found: Candidates, _outputs: Arrays, meta: ImageMeta, spec: ModelSpec) -> RotatedDetections:
    """Width and height are scaled with x and y, as Ultralytics does, whatever the angle: the two scales are nearly equal."""
    (scale_y, scale_x), (offset_y, offset_x) = meta.scale, meta.offset
    rotated = found.extras["rotated"] - np.array([offset_x, offset_y, 0, 0, 0], np.float32)
    rotated /= np.array([scale_x, scale_y, scale_x, scale_y, 1], np.float32)
    height, width = meta.original_size
    boxes = np.clip(upright(rotated), 0, np.array([width, height, width, height], np.float32))
    return RotatedDetections(boxes, found.scores, found.labels.astype(np.int64, copy=False), spec.labels, rotated)


def layout(spec: ModelSpec) -> BoxLayout | None:
    known = layout_of(spec, rows_of(spec), 1)
    if known is None:
        return None
    found, angle = known
    return replace(found, angle=angle, decoder="nms_obb")


def rows_of(spec: ModelSpec) -> Any:
    return spec.decoder.params.get("rows", "dense") if spec.decoder else "dense"


def upright(rotated: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [n, 4], x1 y1 x2 y2, around rotated boxes."""
    corners = corners_of(rotated)
    return np.concatenate((corners.min(axis=1), corners.max(axis=1)), axis=1)


decoder = Decoder(
    "yolo_obb",
    RowParams,
    FromCandidates(read, candidates, predict=predict, suppress=suppress, layout=layout),
    task="obb",
)
