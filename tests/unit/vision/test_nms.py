import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptrt.vision.nms import nms_by_class


def boxes_of(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def test_the_better_of_two_that_overlap_stays() -> None:
    boxes = boxes_of((0, 0, 10, 10), (1, 0, 11, 10), (50, 50, 60, 60))
    scores = np.array([0.5, 0.9, 0.7], np.float32)
    assert nms_by_class(boxes, scores, np.zeros(3, np.int64), iou=0.5).tolist() == [1, 2]
    assert nms_by_class(boxes, scores, np.zeros(3, np.int64), iou=0.9).tolist() == [1, 2, 0]
    assert nms_by_class(boxes, scores, np.zeros(3, np.int64), iou=0.9, max_det=2).tolist() == [1, 2]


def test_other_classes_do_not_suppress_unless_agnostic() -> None:
    boxes = boxes_of((0, 0, 10, 10), (0, 0, 10, 10))
    scores, labels = np.array([0.5, 0.9], np.float32), np.array([0, 1])
    assert nms_by_class(boxes, scores, labels, iou=0.5).tolist() == [1, 0]
    assert nms_by_class(boxes, scores, labels, iou=0.5, agnostic=True).tolist() == [1]


def test_equal_scores_keep_their_order_and_empty_boxes_never_suppress() -> None:
    boxes = boxes_of(*[(i * 20, 0, i * 20 + 10, 10) for i in range(300)])
    same = np.full(300, 0.5, np.float32)
    assert nms_by_class(boxes, same, np.zeros(300, np.int64)).tolist() == list(range(300))
    points = boxes_of((5, 5, 5, 5), (5, 5, 5, 5))
    assert nms_by_class(points, same[:2], np.zeros(2, np.int64), iou=0.0).tolist() == [0, 1]


def test_nothing_in_nothing_out() -> None:
    kept = nms_by_class(boxes_of(), np.empty(0, np.float32), np.empty(0, np.int64))
    assert kept.shape == (0,)
    assert kept.dtype == np.int64


# coordinates and scores from few values: ties, identical boxes, and overlaps that lie exactly on the threshold
grid = st.integers(0, 12).map(lambda value: value * 10.0)
anywhere = st.floats(0, 640, width=32)
box = st.tuples(*[grid] * 4) | st.tuples(*[anywhere] * 4)
score = st.sampled_from([0.3, 0.5, 0.9]) | st.floats(0, 1, width=32)


@settings(deadline=None, max_examples=150)
@given(
    rows=st.lists(st.tuples(box, score, st.integers(0, 3) | st.just(79)), max_size=40),
    iou=st.sampled_from([0.0, 0.1, 0.3, 0.45, 0.5, 0.6, 0.7, 0.9, 1.0]) | st.floats(0, 1),
    agnostic=st.booleans(),
)
def test_same_as_torchvision(rows: list[tuple], iou: float, agnostic: bool) -> None:
    torchvision_same(
        boxes_of(*[(min(a, c), min(b, d), max(a, c), max(b, d)) for (a, b, c, d), _, _ in rows]),
        np.array([score for _, score, _ in rows], np.float32),
        np.array([label for _, _, label in rows], np.int64),
        iou,
        agnostic,
    )


@pytest.mark.parametrize("count", [127, 128, 129, 700, 3000])
@pytest.mark.parametrize("objects", [20, 3000])
def test_same_as_torchvision_over_many_blocks(count: int, objects: int) -> None:
    rng = np.random.default_rng(count)
    which = rng.integers(0, objects, count)
    centers = rng.uniform(0, 640, (objects, 2))[which] + rng.normal(0, 5, (count, 2))
    half = rng.uniform(5, 100, (objects, 2))[which]
    boxes = np.concatenate([centers - half, centers + half], 1).astype(np.float32)
    torchvision_same(boxes, rng.random(count, np.float32), rng.integers(0, 80, objects)[which], 0.7, False)


def torchvision_same(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, iou: float, agnostic: bool) -> None:
    torchvision = pytest.importorskip("torchvision", reason="compares with torchvision.ops.nms")
    import torch

    offset = boxes + (0 if agnostic else labels[:, None].astype(np.float32) * np.float32(7680))
    theirs = torchvision.ops.nms(torch.from_numpy(offset), torch.from_numpy(scores), iou)[:300].numpy()
    ours = nms_by_class(boxes, scores, labels, iou=iou, agnostic=agnostic)
    np.testing.assert_array_equal(ours, theirs)
