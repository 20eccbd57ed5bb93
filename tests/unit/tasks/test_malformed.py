"""Predictions of plugins that cannot be used: each task says what is wrong, instead of failing later."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adaptrt import (
    Classification,
    Detections,
    InputSpec,
    Mask,
    ModelSpec,
    Poses,
    RotatedDetections,
    Segments,
    SemanticMap,
    Values,
)
from adaptrt.specs import task_named

SIZE = (20, 30)
SPEC = ModelSpec((InputSpec.image(32, 32),), labels=("cat", "dog"))
BOXES = np.array([[1, 2, 5, 6], [0, 0, 9, 9]], np.float32)
SCORES, LABELS = np.array([0.9, 0.5], np.float32), np.array([1, 0])
OBJECTS = (BOXES, SCORES, LABELS)
MASKS = (Mask(np.ones((4, 4), np.bool_), 1, 2), Mask(np.ones((9, 9), np.bool_), 0, 0))
POINTS = np.ones((2, 5, 3), np.float32)
ROTATED = np.ones((2, 5), np.float32)
MAP = np.ones(SIZE, np.uint8)
NAN = np.array([np.nan, 0.5], np.float32)

WELL_FORMED: dict[str, Any] = {
    "detect": Detections(*OBJECTS),
    "segment": Segments(*OBJECTS, masks=MASKS, size=SIZE),
    "pose": Poses(*OBJECTS, keypoints=POINTS, skeleton=((0, 4),)),
    "obb": RotatedDetections(*OBJECTS, rotated=ROTATED),
    "classify": Classification(SCORES, LABELS),
    "semantic": SemanticMap(MAP),
    "values": Values({"output": BOXES}),
}
MALFORMED: list[tuple[str, Any, str]] = [
    ("detect", Detections(BOXES[0], SCORES, LABELS), "boxes must be an array of numbers, [2, 4]; got float32 [4]"),
    ("detect", Detections(BOXES.tolist(), SCORES, LABELS), "boxes must be an array of numbers, [2, 4]; got list"),
    ("detect", Detections(BOXES, None, LABELS), "scores must be an array of numbers, [N]; got NoneType"),  # type: ignore[arg-type]
    ("detect", Detections(BOXES, SCORES[:, None], LABELS), "scores must be an array of numbers, [N]; got float32 [2, 1]"),
    ("detect", Detections(BOXES, NAN, LABELS), "scores must be finite; got NaN or infinity"),
    ("detect", Detections(BOXES + np.inf, SCORES, LABELS), "boxes must be finite; got NaN or infinity"),
    ("detect", Detections(BOXES, SCORES, LABELS[:1]), "labels must be an array of integers, [2]; got int64 [1]"),
    ("detect", Detections(BOXES, SCORES, SCORES), "labels must be an array of integers, [2]; got float32 [2]"),  # type: ignore[arg-type]
    ("detect", Detections(BOXES, SCORES, LABELS + 1), "labels must be from 0 to 1, the classes of the spec; got 1 to 2"),
    ("detect", Detections(BOXES, SCORES, LABELS - 1), "labels must be from 0 to 1, the classes of the spec; got -1 to 0"),
    ("segment", Segments(*OBJECTS, masks=MASKS[:1], size=SIZE), "each object must have a mask; got 2 objects but 1 masks"),
    ("segment", Segments(*OBJECTS, masks=MASKS, size=(20, 20)), "size is [20, 20] but the image size is [20, 30]"),
    ("segment", Segments(*OBJECTS, masks=(MAP, MAP), size=SIZE), "masks must be a tuple of Mask"),  # type: ignore[arg-type]
    ("segment", Segments(*OBJECTS, masks=None, size=SIZE), "masks must be a tuple of Mask"),  # type: ignore[arg-type]
    ("segment", Segments(*OBJECTS, masks=(Mask(MAP, 0, 0),) * 2, size=SIZE), "a mask must be a boolean bitmap inside"),  # type: ignore[arg-type]
    ("segment", Segments(*OBJECTS, masks=(Mask(MAP > 0, 0, 1),) * 2, size=SIZE), "a mask must be a boolean bitmap inside"),
    ("pose", Poses(*OBJECTS, keypoints=POINTS[:1]), "visibility) must be an array of numbers, [2, N, 3]; got float32 [1, 5, 3]"),
    ("pose", Poses(*OBJECTS, keypoints=POINTS, skeleton=((0, 5),)), "the skeleton must refer to keypoints 0 to 4"),
    ("obb", RotatedDetections(*OBJECTS), "rotated boxes must be an array of numbers, [2, 5]; got float32 [0, 5]"),
    ("obb", RotatedDetections(*OBJECTS, rotated=-ROTATED), "rotated boxes must have sides of at least 0"),
    ("classify", Classification(SCORES, LABELS[:1]), "labels must be an array of integers, [2]; got int64 [1]"),
    ("classify", Classification(NAN, LABELS), "scores must be finite; got NaN or infinity"),
    ("classify", Classification(SCORES[:0], LABELS[:0]), "scores must contain at least one class"),
    ("semantic", SemanticMap(MAP.T), "labels must be uint8 or int32 [20, 30], one per pixel of the original image; got uint8 [30, 20]"),
    ("semantic", SemanticMap(MAP.astype(np.int64)), "labels must be uint8 or int32"),  # type: ignore[arg-type]
    ("semantic", SemanticMap(MAP + 1), "labels must be from 0 to 1, the classes of the spec; got 2 to 2"),
    ("values", Values({"output": 1.0}), "output must be an array; got float"),  # type: ignore[dict-item]
    ("values", Values([BOXES]), "arrays must be a mapping from names to arrays; got list"),  # type: ignore[arg-type]
]  # fmt: skip


@pytest.mark.parametrize("task", WELL_FORMED)
def test_what_can_be_used(task: str) -> None:
    named = task_named(task)
    assert named.malformed(WELL_FORMED[task], SPEC, SIZE) is None
    assert named.malformed(WELL_FORMED[task], SPEC) is None, "the size of the image is not always known"


def test_nothing_can_be_found() -> None:
    none = np.zeros(2, np.bool_)
    assert task_named("detect").malformed(WELL_FORMED["detect"].at(none), SPEC, SIZE) is None


def test_a_spec_without_labels_has_any_number_of_classes() -> None:
    spec = ModelSpec((InputSpec.image(32, 32),))
    assert task_named("detect").malformed(Detections(BOXES, SCORES, LABELS + 90), spec, SIZE) is None
    negative = task_named("detect").malformed(Detections(BOXES, SCORES, LABELS - 2), spec, SIZE)
    assert negative == "labels must be from 0 to the number of classes; got -2 to -1"


@pytest.mark.parametrize(("task", "prediction", "said"), MALFORMED)
def test_what_is_wrong_is_said(task: str, prediction: Any, said: str) -> None:
    named = task_named(task)
    malformed = named.malformed(prediction, SPEC, SIZE)
    assert malformed is not None
    assert said in malformed
    assert named.problems(prediction, SPEC, SIZE) == [malformed], "the contract of decoders and adapters finds it too"
