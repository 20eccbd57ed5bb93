"""The layouts in which YOLO networks return boxes, scores, and the additional numbers of a task.

- ``dense`` [4 + nc + E, N]: center x and y, width, height in input pixels, a score for each class (v5u, v8, v11, v12)
- ``anchor`` [N, 5 + nc + E]: the same with an objectness before the scores (classic YOLOv5)
- ``end2end`` [N, 6 + E]: corners in input pixels, score, class, the best first, nothing to suppress (v10, 26)

``E`` numbers of each box belong to the task: mask coefficients, keypoints, an angle.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from adaptrt.errors import ModelError
from adaptrt.specs.layouts import BoxLayout, Extra, Part
from adaptrt.vision.boxes import corners_from_centers
from adaptrt.vision.decoders.candidates import Candidates
from adaptrt.vision.decoders.params import DetectionParams

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.specs import ModelSpec

Rows: TypeAlias = Literal["dense", "anchor", "end2end"]


@dataclass(frozen=True)
class RowParams(DetectionParams):
    """Thresholds, and the layout of the output.

    - ``rows``: the layout: ``dense`` [B, 4 + nc + E, N], ``anchor`` [B, N, 5 + nc + E] with objectness, or ``end2end``
      [B, N, 6 + E] (x1 y1 x2 y2, score, class; ``yolo_obb``: center, size, score, class), which needs no NMS: set
      ``iou`` to ``null``
    """

    rows: Rows = "dense"


def check_rows(name: str, shape: tuple[int, ...], rows: Rows, classes: int, extras: int, decoder: str) -> None:
    """Raise a ``ModelError`` if this shape, batch first, is not that of rows with this number of extras."""
    before = {"dense": 4, "anchor": 5, "end2end": 6}[rows]
    width = before + extras + (0 if rows == "end2end" else classes)
    axis = 1 if rows == "dense" else 2
    known = rows == "end2end" or classes
    if len(shape) == 3 and (shape[axis] == width if known else shape[axis] > width):
        return
    numbers = f"{width}" if known else f"{width} + nc"
    wanted = f"[B, {numbers}, N]" if axis == 1 else f"[B, N, {numbers}]"
    hint = None
    if len(shape) == 3 and rows != "end2end" and classes:
        hint = f"It has {shape[axis] - before - extras} classes, but the spec has {classes} labels."
    raise ModelError(
        f"Decoder {decoder!r} expects {wanted} (rows={rows}); output {name!r} is {list(shape)}.", hint=hint
    )


def candidates_of(
    raw: NDArray[Any], rows: Rows, extras: int, conf: float, *, centers: bool = False
) -> tuple[Candidates, NDArray[np.float32]]:
    """Those of one image whose score is above ``conf``, and their extras, float32 [n, E].

    ``centers``: boxes are cx cy w h in every layout, and stay so.
    """
    if rows == "end2end":
        kept = raw[raw[:, 4] > conf].astype(np.float32, copy=False)
        boxes, scores, labels, rest = kept[:, :4], kept[:, 4], kept[:, 5].astype(np.int64), kept[:, 6:]
        return Candidates(boxes, scores, labels), rest
    if rows == "dense":
        last = len(raw) - extras
        keep = np.flatnonzero(raw[4:last].max(axis=0) > conf)
        found = raw[:, keep].T.astype(np.float32, order="C")  # [n, 4 + nc + E]
        by_class = found[:, 4:last]
    else:
        last = raw.shape[1] - extras
        # a class score is at most 1, so what fails on objectness alone can be dropped before anything is computed
        found = raw[raw[:, 4] > conf].astype(np.float32, copy=False)
        by_class = found[:, 5:last] * found[:, 4:5]
    best = by_class.argmax(axis=1) if len(by_class) else np.empty(0, np.int64)
    boxes = found[:, :4] if centers else corners_from_centers(found[:, :4])
    return Candidates(boxes, by_class[np.arange(len(best)), best], best), found[:, last:]


def layout_of(spec: ModelSpec, rows: Rows, extras: int) -> tuple[BoxLayout, Part] | None:
    """Where the first output holds boxes and scores, and where the ``extras`` of each box.

    ``None`` for ``end2end``, whose rows hold one score and the number of its class.
    """
    if rows == "end2end":
        return None
    output, first = spec.outputs[0], rows == "dense"
    before = 4 if first else 5
    last = before + (len(spec.labels) or int(output.dims[1 if first else 2]) - before - extras)
    boxes, scores, rest = (
        Part(output.name, start, stop, channels_first=first)
        for start, stop in ((0, 4), (before, last), (last, last + extras))
    )
    objectness = None if first else Part(output.name, 4, 5)
    return BoxLayout(boxes, scores, objectness, centers=True), rest


def with_extra(spec: ModelSpec, rows: Rows, count: int, name: str, **changes: Any) -> BoxLayout | None:
    """The layout of rows whose extras go through NMS as the output ``det_<name>``; ``None`` for ``end2end``."""
    found = layout_of(spec, rows, count)
    if found is None:
        return None
    layout, part = found
    return replace(layout, extras=(Extra(name, f"det_{name}", part),), **changes)
