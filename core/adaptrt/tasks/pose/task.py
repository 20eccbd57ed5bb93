"""The task ``pose``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt.errors import ModelError
from adaptrt.predictions import Poses
from adaptrt.tasks.arrays import malformed_array
from adaptrt.tasks.detect.agreement import decoder_threshold, describe_agreement, matched_boxes
from adaptrt.tasks.objects import ObjectTask, read_boxes
from adaptrt.tasks.pose.scoring import KeypointScoring
from adaptrt.tasks.pose.similarity import MAX_DISTANCE, describe_keypoints, matched_keypoints, mean_similarity
from adaptrt.tasks.records import array_of

if TYPE_CHECKING:
    from adaptrt.contributions import Metric
    from adaptrt.specs import ModelSpec, Precision
    from adaptrt.vision.images import ImageArray


class Pose(ObjectTask[Poses]):
    """Objects in boxes, each with keypoints, a class and a score."""

    name = "pose"
    prediction = Poses
    scoring = KeypointScoring()

    def draw(self, image: ImageArray, prediction: Poses) -> ImageArray:
        from adaptrt.tasks.pose.drawing import draw_poses

        drawn: ImageArray = image.copy()
        draw_poses(drawn, prediction)
        return drawn

    def object_data(self, prediction: Poses, index: int) -> dict[str, Any]:
        """``keypoints``: x, y and visibility of each."""
        return {**super().object_data(prediction, index), "keypoints": _rounded(prediction, index)}

    def record(self, prediction: Poses) -> dict[str, Any]:
        points = [_rounded(prediction, index) for index in range(len(prediction))]
        return {**super().record(prediction), "keypoints": points, "skeleton": prediction.skeleton}

    def read_record(self, record: Mapping[str, Any]) -> Poses:
        found = read_boxes(record)
        rows = record.get("keypoints")
        if not isinstance(rows, list) or len(rows) != len(found):
            raise ModelError(f"A record with {len(found)} boxes does not have keypoints for each of them.")
        points = [array_of({"keypoints": row}, "keypoints", np.float32, 3) for row in rows]
        if len({len(row) for row in points}) > 1:
            raise ModelError("The objects of a record differ in their number of keypoints.")
        count = len(points[0]) if points else 0
        pairs = array_of(record, "skeleton", np.int64, 2)
        if count and not ((pairs >= 0) & (pairs < count)).all():
            raise ModelError("The skeleton of a record refers to keypoints that do not exist.")
        keypoints = np.array(points, np.float32).reshape(len(points), count, 3)
        skeleton = tuple((int(first), int(second)) for first, second in pairs)
        return Poses(found.boxes, found.scores, found.labels, found.names, keypoints, skeleton)

    def label_numbers(self, prediction: Poses, index: int, size: tuple[int, int]) -> list[float]:
        """Keypoints behind the box, as Ultralytics writes them."""
        points = prediction.points[index] / np.array([size[1], size[0], 1], np.float64)
        return [*super().label_numbers(prediction, index, size), *map(float, points.ravel())]

    def coco_object(self, prediction: Poses, index: int) -> dict[str, Any]:
        return {"keypoints": [value for point in _rounded(prediction, index) for value in point]}

    def to_supervision(self, prediction: Poses, supervision: Any) -> Any:
        names = np.array([prediction.name(index) for index in range(len(prediction))], dtype=str)
        points = prediction.points
        return supervision.KeyPoints(
            xy=points[..., :2],
            class_id=prediction.labels,
            keypoint_confidence=points[..., 2],
            detection_confidence=prediction.scores,
            data={"class_name": names},
        )

    def header(self, predictions: Sequence[Poses]) -> list[str]:
        count = max((prediction.points.shape[1] for prediction in predictions), default=0)
        points = [f"{name}{index}" for index in range(count) for name in ("x_", "y_", "visible_")]
        return [*super().header(predictions), *points]

    def columns(self, prediction: Poses, index: int) -> list[Any]:
        return [
            *super().columns(prediction, index),
            *(value for point in _rounded(prediction, index) for value in point),
        ]

    def metrics(self, spec: ModelSpec, precision: Precision) -> list[Metric]:
        limits = precision.limits
        iou, score = limits.get("box_iou", 0.75), limits.get("score", 0.1)
        return [
            matched_boxes(iou, score, decoder_threshold(spec), task=self.name),
            mean_similarity(limits.get("oks", 0.9)),
            *([] if precision.reduced else [matched_keypoints(MAX_DISTANCE, score)]),
        ]

    def agreement(self, expected: Poses, actual: Poses) -> str:
        return ", ".join(filter(None, (describe_agreement(expected, actual), describe_keypoints(expected, actual))))

    def malformed(self, prediction: Poses, spec: ModelSpec, size: tuple[int, int] | None = None) -> str | None:
        if (found := super().malformed(prediction, spec, size)) is not None:
            return found
        points = prediction.points
        found = malformed_array("keypoints (x, y, visibility)", points, (len(prediction), None, 3))
        if found is None and any(not 0 <= point < points.shape[1] for pair in prediction.skeleton for point in pair):
            return f"the skeleton must refer to keypoints 0 to {points.shape[1] - 1}"
        return found


def _rounded(prediction: Poses, index: int) -> list[list[float]]:
    return [[round(float(x), 3), round(float(y), 3), round(float(seen), 6)] for x, y, seen in prediction.points[index]]


TASK = Pose()
