"""Ultralytics' output format for keypoints: one output of rows (``yolo_rows``), with ``K * D`` additional values for each box.

A keypoint is x and y in input pixels and, if ``D`` is 3, its visibility, 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from adaptrt.errors import UsageError
from adaptrt.options import fill_options
from adaptrt.predictions import Poses
from adaptrt.specs.decoders import Decoder
from adaptrt.vision.decoders.candidates import Candidates, FromCandidates
from adaptrt.vision.decoders.outputs import first_output
from adaptrt.vision.decoders.yolo_rows import RowParams, candidates_of, check_rows, with_extra

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adaptrt.predictions import ImageMeta
    from adaptrt.specs import ModelSpec
    from adaptrt.specs.layouts import BoxLayout
    from adaptrt.specs.tensors import Arrays

COCO_SKELETON = (
    (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9), (8, 10),
    (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
)  # fmt: skip
"""Of the 17 keypoints of a person in COCO, counted from 0."""


@dataclass(frozen=True)
class PoseParams(RowParams):
    """Thresholds, the layout of the output, and its keypoints.

    - ``keypoints``: number of keypoints of an object, and values of each: 2 (x, y) or 3 (x, y, visibility)
    - ``skeleton``: pairs of keypoints, counted from 0, that are connected by lines when drawn
    """

    keypoints: tuple[int, int] = (17, 3)
    skeleton: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        RowParams.__post_init__(self)
        check_keypoints(self.keypoints, self.skeleton)


def check_keypoints(keypoints: tuple[int, int], skeleton: tuple[tuple[int, int], ...]) -> None:
    count, numbers = keypoints
    if count < 1 or numbers not in (2, 3):
        raise UsageError(
            f"keypoints must be a count and 2 or 3; got {list(keypoints)}.", hint="For example: --set keypoints=17,3"
        )
    for pair in skeleton:
        if not all(0 <= point < count for point in pair):
            raise UsageError(f"skeleton must refer to keypoints 0 to {count - 1}; got {list(pair)}.")


def read(outputs: Arrays, metas: Sequence[ImageMeta], spec: ModelSpec) -> Arrays:
    params = params_of(spec)
    name, raw = first_output(outputs, "yolo_pose", metas)
    count, numbers = params.keypoints
    check_rows(name, raw.shape, params.rows, len(spec.labels), count * numbers, "yolo_pose")
    return {"raw": raw}


def candidates(outputs: Arrays, _meta: ImageMeta, _spec: ModelSpec, params: PoseParams) -> Candidates:
    count, numbers = params.keypoints
    found, points = candidates_of(outputs["raw"], params.rows, count * numbers, params.conf)
    return Candidates(found.boxes, found.scores, found.labels, {"keypoints": points.reshape(-1, count, numbers)})


def predict(found: Candidates, _outputs: Arrays, meta: ImageMeta, spec: ModelSpec) -> Poses:
    """Keypoints in pixels of the original image, clipped to it."""
    given = found.extras["keypoints"]
    height, width = meta.original_size
    points = np.ones((*given.shape[:2], 3), np.float32)
    points[..., : given.shape[2]] = given
    points[..., :2] -= np.array(meta.offset[::-1], np.float32)
    points[..., :2] /= np.array(meta.scale[::-1], np.float32)
    points[..., :2] = np.clip(points[..., :2], 0, np.array([width, height], np.float32))
    labels = found.labels.astype(np.int64, copy=False)
    return Poses(found.boxes, found.scores, labels, spec.labels, points, params_of(spec).skeleton)


def layout(spec: ModelSpec) -> BoxLayout | None:
    params = params_of(spec)
    count, numbers = params.keypoints
    given = {"keypoints": params.keypoints, "skeleton": params.skeleton}
    return with_extra(spec, params.rows, count * numbers, "keypoints", decoder="nms_pose", params=given)


def params_of(spec: ModelSpec) -> PoseParams:
    return fill_options(PoseParams, spec.decoder.params if spec.decoder else {})


decoder = Decoder(
    "yolo_pose", PoseParams, FromCandidates(read, candidates, predict=predict, layout=layout), task="pose"
)
