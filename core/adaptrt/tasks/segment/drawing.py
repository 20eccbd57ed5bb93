"""Masks as colors over the image, with an edge, then boxes with labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adaptrt.tasks.detect.drawing import draw_detections
from adaptrt.vision.canvas import image_scale
from adaptrt.vision.colors import class_color
from adaptrt.vision.opencv import cv2

if TYPE_CHECKING:
    from adaptrt.predictions import Segments
    from adaptrt.vision.images import ImageArray

_OPACITY = 0.45


def draw_segments(image: ImageArray, prediction: Segments) -> None:
    """Draw onto the image, in place; the best object comes last, on top."""
    thickness = max(1, round(image_scale(image) * 0.0025))
    for index in reversed(range(len(prediction))):
        mask = prediction.masks[index]
        height, width = mask.bitmap.shape
        part = image[mask.top : mask.top + height, mask.left : mask.left + width]
        where = mask.bitmap[: part.shape[0], : part.shape[1]]
        color = np.array(class_color(int(prediction.labels[index])), np.float32)
        part[where] = np.round(part[where] * np.float32(1 - _OPACITY) + color * np.float32(_OPACITY)).astype(np.uint8)
        contours, _ = cv2.findContours(np.ascontiguousarray(where, np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(image, contours, -1, color.tolist(), thickness, cv2.LINE_AA, offset=(mask.left, mask.top))
    draw_detections(image, prediction)
