"""Matched boxes: the same objects in the same places, with the same confidence; the edge of the threshold counts for neither side."""

from __future__ import annotations

import numpy as np
import pytest

from adaptrt import DecoderSpec, Detections, InputSpec, ModelSpec
from adaptrt.specs import precision_named, task_named
from adaptrt.tasks.detect.agreement import box_iou, decoder_threshold, match_boxes, matched_boxes


def found(
    *boxes: tuple[float, float, float, float], scores: list[float], labels: list[int] | None = None
) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(labels or [0] * len(scores), np.int64),
    )


ONE, OTHER = (0.0, 0.0, 10.0, 10.0), (50.0, 50.0, 70.0, 80.0)


def test_equal_predictions_match() -> None:
    both = found(ONE, OTHER, scores=[0.9, 0.8])
    assert matched_boxes(0.99, 1e-3).compute([both], [both]) == 1.0


def test_empty_boxes_match_where_they_are_the_same() -> None:
    both = found((5.0, 5.0, 5.0, 9.0), scores=[0.9])
    assert matched_boxes(0.99, 1e-3).compute([both], [both]) == 1.0
    assert match_boxes(both, found((6.0, 5.0, 6.0, 9.0), scores=[0.9]), 0.5) == []


def test_another_label_is_another_object() -> None:
    assert match_boxes(found(ONE, scores=[0.9]), found(ONE, scores=[0.9], labels=[1]), 0.5) == []


def test_a_box_is_matched_once() -> None:
    assert len(match_boxes(found(ONE, ONE, scores=[0.9, 0.8]), found(ONE, scores=[0.9]), 0.5)) == 1


@pytest.mark.parametrize(
    "converted",
    [
        found(scores=[]),
        found((3.0, 0.0, 13.0, 10.0), scores=[0.9]),
        found(ONE, scores=[0.5]),
        found(ONE, OTHER, scores=[0.9, 0.9]),
    ],
    ids=["missing", "moved", "less sure", "one too many"],
)
def test_differences_count(converted: Detections) -> None:
    assert matched_boxes(0.9, 0.03, threshold=0.25).compute([found(ONE, scores=[0.9])], [converted]) < 1.0


def test_a_box_at_the_edge_of_the_threshold_may_be_on_one_side_only() -> None:
    metric = matched_boxes(0.9, 0.03, threshold=0.25)
    assert metric.compute([found(ONE, OTHER, scores=[0.9, 0.26])], [found(ONE, scores=[0.9])]) == 1.0
    assert metric.compute([found(ONE, OTHER, scores=[0.9, 0.29])], [found(ONE, scores=[0.9])]) == 0.5


def test_the_threshold_is_the_decoders() -> None:
    spec = ModelSpec((InputSpec.image(64, 64),), decoder=DecoderSpec("yolo"))
    assert decoder_threshold(spec) == 0.25
    assert decoder_threshold(spec.with_decoder_params(conf=0.4)) == 0.4
    assert decoder_threshold(ModelSpec((InputSpec.image(64, 64),))) == 0.0


def test_the_share_is_that_of_all_boxes() -> None:
    """Each box is used once, and what has no partner counts on either side."""

    def agreement(first: Detections, second: Detections) -> float | None:
        return matched_boxes(0.9, 0.01).compute([first], [second])

    one, both = found(ONE, scores=[0.9]), found(ONE, OTHER, scores=[0.9, 0.9])
    assert agreement(both, found(OTHER, ONE, scores=[0.9, 0.9])) == 1.0
    assert agreement(both, one) == agreement(one, both) == 0.5
    assert agreement(found(ONE, ONE, scores=[0.9, 0.9]), one) == 0.5
    assert agreement(one, found(ONE, scores=[0.9], labels=[1])) == 0.0
    assert agreement(one, found((0.0, 0.0, 10.0, 12.0), scores=[0.9])) == 0.0
    assert agreement(one, found(scores=[])) == 0.0


def test_nothing_to_compare_is_not_agreement() -> None:
    """Weak objects on one side alone do not count, so nothing would be left that could differ."""
    metric, weak = matched_boxes(0.75, 0.1, threshold=0.25), found(ONE, scores=[0.3])
    assert metric.compute([found(scores=[])], [found(scores=[])]) is None
    assert metric.compute([weak], [found(scores=[])]) is None
    assert metric.compute([weak], [found(OTHER, scores=[0.3])]) is None
    assert metric.compute([weak], [weak]) == 1.0


def test_overlaps() -> None:
    overlaps = box_iou(
        found(ONE, OTHER, scores=[1, 1]).boxes, found((0, 0, 5, 10), OTHER, (5, 5, 5, 5), scores=[1, 1, 1]).boxes
    )
    np.testing.assert_allclose(overlaps, [[0.5, 0, 0], [0, 1, 0]])


def test_metrics_are_as_strict_as_the_precision() -> None:
    spec = ModelSpec((InputSpec.image(64, 64),), task="detect", decoder=DecoderSpec("yolo"))
    one, moved = found(ONE, scores=[0.9]), found((0.0, 0.0, 10.0, 10.8), scores=[0.9])
    values = {}
    for precision in ("fp32", "fp16", "int8"):
        (metric,) = task_named("detect").metrics(spec, precision_named(precision))
        values[precision] = metric.compute([one], [moved])
    assert values == {"fp32": 0.0, "fp16": 1.0, "int8": 1.0}


def test_boxes_within_the_pixel_tolerance_are_the_same_without_area_too() -> None:
    thin, moved = (found((320, 10, 320, 50), scores=[0.9]), found([[320, 10.0001, 320, 50]], scores=[0.9]))
    assert matched_boxes(0.99, 1e-3, 0.25).compute([thin], [moved]) == 1.0
    far = found((321, 10, 321, 50), scores=[0.9])
    metric = matched_boxes(0.99, 1e-3, 0.25)
    assert metric.compute([thin], [far]) < 1.0
    assert metric.explain is not None
    said = metric.explain([thin], [far])
    assert "image 1: missing" in said
    assert "[320, 10, 320, 50]" in said
    assert "added" in said
