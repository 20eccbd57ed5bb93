"""The image in the input tensor: recognized by the zeros that mmdet pads with."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from adaptrt_mmdet.dense_family import smallest_box
from adaptrt_mmdet.image_region import image_limits, recognizable_padding
from adaptrt_mmdet.images import TestImages

IMAGES = TestImages(32, 32, True, (123.675, 116.28, 103.53), (1.0,), True, "linear", "cv2", None)


@pytest.mark.parametrize("static", [False, True])
def test_the_limits_of_each_image(static: bool) -> None:
    """Also of an image with zeros inside, and of one that is all padding."""
    images = torch.zeros(3, 3, 20, 30)
    images[0, 1, :7, :13] = 0.5
    images[0, 1, 3:5] = 0
    images[1] = -1
    found = image_limits(images, padded=True, static=static)
    assert found.tolist() == [[[13, 7, 13, 7]], [[30, 20, 30, 20]], [[0, 0, 0, 0]]]
    assert image_limits(images, padded=False, static=static).tolist() == [[[30, 20, 30, 20]]]


def test_which_padding_can_be_recognized() -> None:
    assert recognizable_padding(IMAGES)
    assert not recognizable_padding(replace(IMAGES, mean=(103.0, 116.0, 123.0)))  # a pixel of this value becomes 0
    assert not recognizable_padding(replace(IMAGES, pad=114))
    assert not recognizable_padding(replace(IMAGES, keep_ratio=False))


@pytest.mark.parametrize(
    ("kind", "test", "expected"),
    [
        ("RetinaHead", {"min_bbox_size": 0}, {}),
        ("RetinaHead", {"min_bbox_size": 5}, {"min_size": 5.0}),
        ("RetinaHead", {}, {"min_size": -1.0}),
        ("PAAHead", {"min_bbox_size": 0}, {"min_size": -1.0}),
        ("YOLOV3Head", {"min_bbox_size": 0}, {"min_size": 0.0}),
        ("YOLOXHead", {"min_bbox_size": 0}, {}),
    ],
)
def test_the_smallest_box_of_each_head(kind: str, test: dict[str, Any], expected: dict[str, float]) -> None:
    head = type(kind, (), {"test_cfg": test, "bbox_coder": SimpleNamespace(clip_border=True)})()
    assert smallest_box(head) == expected
