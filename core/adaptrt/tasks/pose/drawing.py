"""Keypoints and the lines between them, over boxes with labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptrt.tasks.detect.drawing import draw_detections
from adaptrt.vision.canvas import image_scale
from adaptrt.vision.colors import DARK, class_color
from adaptrt.vision.opencv import cv2

if TYPE_CHECKING:
    from adaptrt.predictions import Poses
    from adaptrt.vision.images import ImageArray

SEEN = 0.5  # visibility from which on a keypoint is drawn
_SHIFT = 4  # cv2 draws at sixteenths of a pixel


def draw_poses(image: ImageArray, prediction: Poses) -> None:
    """Draw onto the image, in place; the best object comes last, on top."""
    draw_detections(image, prediction)
    radius = max(2, round(image_scale(image) * 0.006))
    for index in reversed(range(len(prediction))):
        points = prediction.points[index]
        seen = points[:, 2] >= SEEN
        places = [(round(float(x) * (1 << _SHIFT)), round(float(y) * (1 << _SHIFT))) for x, y in points[:, :2]]
        for number, (first, second) in enumerate(prediction.skeleton):
            if max(first, second) < len(points) and seen[first] and seen[second]:
                color = class_color(number)
                cv2.line(image, places[first], places[second], color, max(1, radius // 2), cv2.LINE_AA, _SHIFT)
        for number, place in enumerate(places):
            if seen[number]:
                cv2.circle(image, place, (radius + 1) << _SHIFT, DARK, -1, cv2.LINE_AA, _SHIFT)
                cv2.circle(image, place, radius << _SHIFT, class_color(number), -1, cv2.LINE_AA, _SHIFT)
