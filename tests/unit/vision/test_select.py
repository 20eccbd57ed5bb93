"""The one place where candidates are filtered: what ``select`` promises, rule by rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptrt.predictions import Detections, ImageMeta
from adaptrt.specs import InputSpec, ModelSpec
from adaptrt.vision.decoders.candidates import Candidates, FromCandidates
from adaptrt.vision.decoders.params import DetectionParams
from adaptrt.vision.decoders.select import Selection, select


def candidates(scores: list[float], labels: list[int] | None = None, *, step: float = 100) -> Candidates:
    """Boxes of 10 by 10, ``step`` apart."""
    left = np.arange(len(scores), dtype=np.float32) * np.float32(step)
    boxes = np.stack([left, left * 0, left + 10, left * 0 + 10], 1).astype(np.float32)
    return Candidates(boxes, np.array(scores, np.float32), np.array(labels or [0] * len(scores)))


def test_confidence_is_exclusive_and_a_score_that_is_not_a_number_goes() -> None:
    found = candidates([0.5, 0.25, float("nan"), 0.3])
    assert select(found, Selection(conf=0.25)).tolist() == [0, 3]
    assert select(found, Selection(conf=0.25, iou=0.5)).tolist() == [0, 3]


@pytest.mark.parametrize("iou", [None, 0.5])
def test_equal_scores_keep_the_order_of_the_candidates(iou: float | None) -> None:
    found = candidates([0.5, 0.9, 0.5, 0.9, 0.5])
    assert select(found, Selection(conf=0.1, iou=iou)).tolist() == [1, 3, 0, 2, 4]
    assert select(found, Selection(conf=0.1, iou=iou, max_det=3)).tolist() == [1, 3, 0]


def test_classes_are_filtered_before_nms_and_before_the_most_to_keep() -> None:
    found = candidates([0.9, 0.8, 0.7], [0, 1, 1], step=1)  # they overlap
    assert select(found, Selection(conf=0, iou=0.5, agnostic=True)).tolist() == [0]
    assert select(found, Selection(conf=0, iou=0.5, agnostic=True, classes=np.array([1]))).tolist() == [1]
    assert select(found, Selection(conf=0, max_det=1, classes=np.array([1]))).tolist() == [1]


def test_a_box_that_went_suppresses_no_other() -> None:
    found = candidates([0.9, 0.8, 0.7], step=4)  # neighbors overlap by 0.43, the first and the last by 0.11
    assert select(found, Selection(conf=0, iou=0.4)).tolist() == [0, 2]


@pytest.mark.parametrize("offset", [7680.0, None])
def test_classes_are_separated_by_an_offset(offset: float | None) -> None:
    found = candidates([0.9, 0.8, 0.7], [0, 1, 0], step=0)
    assert select(found, Selection(conf=0, iou=0.5, class_offset=offset)).tolist() == [0, 1]
    assert select(found, Selection(conf=0, iou=0.5, class_offset=offset, agnostic=True)).tolist() == [0]


def test_nothing_in_nothing_out() -> None:
    for offset in (7680.0, None):
        kept = select(candidates([]), Selection(conf=0.1, iou=0.5, class_offset=offset))
        assert kept.shape == (0,)
        assert np.issubdtype(kept.dtype, np.integer)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.3, 0.5, 0.7]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_it_is_the_greedy_choice_written_out(seed: int, iou: float, agnostic: bool) -> None:
    """Against the definition, box by box, on whole coordinates, where the offset of classes costs no bits."""
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 60, (40, 2))
    boxes = np.concatenate([corner, corner + rng.integers(1, 30, (40, 2))], 1).astype(np.float32)
    found = Candidates(boxes, rng.integers(0, 9, 40).astype(np.float32) / 8, rng.integers(0, 3, 40))
    kept: list[int] = []
    for place in sorted(np.flatnonzero(found.scores > 0.25).tolist(), key=lambda place: -found.scores[place]):
        rivals = [other for other in kept if agnostic or found.labels[other] == found.labels[place]]
        if all(float(overlap(boxes[place], boxes[other])) <= iou for other in rivals):
            kept.append(place)
    assert select(found, Selection(conf=0.25, iou=iou, agnostic=agnostic, max_det=12)).tolist() == kept[:12]


def overlap(a: Any, b: Any) -> np.float32:
    width, height = (max(np.float32(0), min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1))
    shared = width * height
    return np.float32(shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared))


def test_extras_go_with_their_boxes_and_boxes_are_mapped_once() -> None:
    def read(outputs: Mapping[str, Any], _metas: Any, _spec: Any) -> Mapping[str, Any]:
        return outputs

    def points(outputs: Mapping[str, Any], _meta: ImageMeta, _spec: Any, _params: Any) -> Candidates:
        boxes = outputs["boxes"]
        return Candidates(boxes, outputs["scores"], np.zeros(len(boxes), np.int64), {"points": outputs["points"]})

    seen: list[Candidates] = []

    def predict(found: Candidates, outputs: Mapping[str, Any], meta: ImageMeta, spec: ModelSpec) -> Detections:
        assert outputs["prototypes"].shape == (3, 4), "what belongs to the image, not to a candidate, is there too"
        seen.append(found)
        return Detections(found.boxes, found.scores, found.labels, spec.labels)

    outputs = {
        "boxes": np.array([[[0, 0, 8, 8], [1, 0, 9, 8], [20, 20, 90, 40]]], np.float32),
        "scores": np.array([[0.5, 0.9, 0.7]], np.float32),
        "points": np.arange(6, dtype=np.float32).reshape(1, 3, 2),
        "prototypes": np.zeros((1, 3, 4), np.float32),
    }
    meta = ImageMeta((100, 100), (50, 50), (0.5, 0.5))
    spec = ModelSpec((InputSpec.image(50, 50),), labels=("a",))
    (found,) = FromCandidates(read, points, predict)(outputs, [meta], spec, DetectionParams(iou=0.5))
    assert seen[0].extras["points"].tolist() == [[2, 3], [4, 5]]
    assert found.boxes.tolist() == [[2, 0, 18, 16], [40, 40, 100, 80]]
    assert seen[0].mapped
    assert seen[0].in_image(meta) is seen[0]
