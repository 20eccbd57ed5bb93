"""Decoding gives the detections that Ultralytics gives for the same raw output."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptrt.predictions import Detections
from adaptrt.specs import ImageTransform, InputSpec, ModelSpec
from adaptrt.specs.decoders import find_decoder
from adaptrt.vision.transforms import transform_image

pytest.importorskip("ultralytics", reason="compares with the decoding of the ultralytics package")

import torch
import torchvision  # noqa: F401  Ultralytics uses its NMS once it is imported
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.ops import scale_boxes

SPEC = ModelSpec((InputSpec.image(640, 640),), image=ImageTransform())
SIZE = (640, 640)


def raw_output(seed: int, *, candidates: int = 8400, classes: int = 80, objects: int = 30) -> np.ndarray:
    """float32 [1, 4 + classes, candidates]: clusters around objects, low scores elsewhere, and exact ties."""
    rng = np.random.default_rng(seed)
    raw = np.empty((4 + classes, candidates))
    which = rng.integers(0, objects, candidates)
    raw[:2] = rng.uniform(0, 640, (2, objects))[:, which] + rng.normal(0, 4, (2, candidates))
    raw[2:4] = rng.uniform(10, 300, (2, objects))[:, which] * rng.uniform(0.9, 1.1, (2, candidates))
    raw[4:] = rng.random((classes, candidates)) * 0.1
    seen = rng.random(candidates) < 0.05
    raw[4 + rng.integers(0, classes, objects)[which], np.arange(candidates)] += (
        seen * rng.integers(1, 90, candidates) / 100
    )
    return raw[None].astype(np.float32)


def check(raw: np.ndarray, image: tuple[int, int], ours: Detections, **options: Any) -> None:
    (theirs,) = non_max_suppression(torch.from_numpy(raw.copy()), **options)
    boxes = scale_boxes(SIZE, theirs[:, :4], image).numpy()
    assert len(ours) == len(theirs)
    np.testing.assert_array_equal(ours.scores, theirs[:, 4])
    np.testing.assert_array_equal(ours.labels, theirs[:, 5])
    np.testing.assert_allclose(ours.boxes, boxes, atol=1e-3, rtol=0)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    image=st.tuples(st.integers(20, 2000), st.integers(20, 2000)),
    conf=st.sampled_from([0.001, 0.25, 0.5]),
    iou=st.sampled_from([0.3, 0.45, 0.7]),
    agnostic=st.booleans(),
    max_det=st.sampled_from([5, 300]),
    classes=st.sampled_from([None, (0, 3, 17)]),
)
def test_yolo(
    seed: int,
    image: tuple[int, int],
    conf: float,
    iou: float,
    agnostic: bool,
    max_det: int,
    classes: tuple[int, ...] | None,
) -> None:
    raw = raw_output(seed, candidates=1500)
    _, meta = transform_image(np.zeros((*image, 3), np.uint8), SPEC.image, SIZE)
    yolo = find_decoder("yolo")
    params = yolo.params(conf=conf, iou=iou, agnostic=agnostic, max_det=max_det, classes=classes)
    (ours,) = yolo.decode({"output0": raw}, [meta], SPEC, params)
    check(
        raw,
        image,
        ours,
        conf_thres=conf,
        iou_thres=iou,
        agnostic=agnostic,
        max_det=max_det,
        classes=None if classes is None else list(classes),
    )


@pytest.mark.parametrize("classes", [1, 3, 80])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_yolo_anchor_is_yolo_with_objectness_in_the_scores(seed: int, classes: int) -> None:
    raw = raw_output(seed, classes=classes)
    objectness = np.random.default_rng(seed).random((1, 1, raw.shape[2]), np.float32)
    anchored = np.concatenate((raw[:, :4], objectness, raw[:, 4:]), axis=1).transpose(0, 2, 1).copy()
    image = (1080, 810)
    _, meta = transform_image(np.zeros((*image, 3), np.uint8), SPEC.image, SIZE)
    anchor = find_decoder("yolo_anchor")
    (ours,) = anchor.decode({"output0": anchored}, [meta], SPEC, anchor.params())
    assert len(ours) > 3
    raw[:, 4:] *= objectness
    check(raw, image, ours, conf_thres=0.25, iou_thres=0.7)


def test_defaults_are_those_of_predict() -> None:
    from ultralytics.cfg import get_cfg

    theirs, ours = get_cfg(), find_decoder("yolo").params()
    assert (theirs.iou, theirs.max_det, theirs.agnostic_nms) == (ours.iou, ours.max_det, ours.agnostic)
    assert ours.conf == 0.25  # BasePredictor's, where the configuration has none
