"""Keypoints of a graph that ends in NMS, as ``convert --nms`` writes it.

The outputs of ``efficient_nms``, and ``det_keypoints`` [B, M, K * D]: x and y in input pixels and, if ``D`` is 3, the visibility of
one keypoint after another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from adaptrt.errors import ModelError
from adaptrt.specs.decoders import Decoder
from adaptrt.vision.decoders import efficient_nms, yolo_pose
from adaptrt.vision.decoders.candidates import Candidates, FromCandidates
from adaptrt.vision.decoders.efficient_nms import EfficientNmsParams, rows_like

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adaptrt.predictions import ImageMeta
    from adaptrt.specs import ModelSpec
    from adaptrt.specs.tensors import Arrays

KEYPOINTS = "det_keypoints"


@dataclass(frozen=True)
class NmsPoseParams(EfficientNmsParams):
    """Selection of the objects that the graph returns, and their keypoints.

    - ``keypoints``: number of keypoints of an object, and values of each: 2 (x, y) or 3 (x, y, visibility)
    - ``skeleton``: pairs of keypoints, counted from 0, that are connected by lines when drawn
    """

    keypoints: tuple[int, int] = (17, 3)
    skeleton: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        EfficientNmsParams.__post_init__(self)
        yolo_pose.check_keypoints(self.keypoints, self.skeleton)


def read(outputs: Arrays, metas: Sequence[ImageMeta], spec: ModelSpec) -> Arrays:
    found = efficient_nms.read_rows(outputs, metas, "nms_pose")
    points = rows_like(outputs, KEYPOINTS, "nms_pose", found["scores"])
    count, numbers = yolo_pose.params_of(spec).keypoints
    if points.shape[2] != count * numbers:
        raise ModelError(
            f"Decoder 'nms_pose' expects {KEYPOINTS} [B, M, {count * numbers}] ({count} keypoints of {numbers} values); got "
            f"{list(points.shape)}.",
            hint="Pass the keypoints of the model: --set keypoints=17,3",
        )
    return {**found, "keypoints": points.reshape(*points.shape[:2], count, numbers)}


def candidates(outputs: Arrays, meta: ImageMeta, spec: ModelSpec, params: NmsPoseParams) -> Candidates:
    found = efficient_nms.candidates(outputs, meta, spec, params)
    points = outputs["keypoints"][: len(found)].astype(np.float32, copy=False)
    return Candidates(found.boxes, found.scores, found.labels, {"keypoints": points})


decoder = Decoder(
    "nms_pose",
    NmsPoseParams,
    FromCandidates(read, candidates, predict=yolo_pose.predict, selected=True),
    task="pose",
    problems=efficient_nms.problems,
)
