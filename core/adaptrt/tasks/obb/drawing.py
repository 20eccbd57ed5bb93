"""Rotated boxes with labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adaptrt.tasks.detect.drawing import draw_labels
from adaptrt.vision.canvas import image_scale
from adaptrt.vision.colors import DARK, class_color
from adaptrt.vision.opencv import cv2

if TYPE_CHECKING:
    from adaptrt.predictions import RotatedDetections
    from adaptrt.vision.images import ImageArray

_SHIFT = 4  # cv2 draws at sixteenths of a pixel


def draw_rotated(image: ImageArray, prediction: RotatedDetections) -> None:
    """Draw onto the image, in place; the best box comes last, on top."""
    line = max(2, round(image_scale(image) * 0.0035))
    points = np.round(prediction.polygons * (1 << _SHIFT)).astype(np.int32)
    for index in reversed(range(len(prediction))):
        color = class_color(int(prediction.labels[index]))
        cv2.polylines(image, [points[index]], True, DARK, line + 2, cv2.LINE_AA, _SHIFT)
        cv2.polylines(image, [points[index]], True, color, line, cv2.LINE_AA, _SHIFT)
    draw_labels(image, prediction)
