"""Drawing primitives: anti-aliased text and rounded rectangles on an RGB image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from adaptrt.vision.opencv import cv2

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.vision.colors import Color
    from adaptrt.vision.images import ImageArray

_SHIFT = 4  # cv2 draws at sixteenths of a pixel
_WEIGHT = 500
_FONT = cv2.FontFace("sans") if hasattr(cv2, "FontFace") else None  # OpenCV 5 has a real font, 4 only strokes


class Rect(NamedTuple):
    """Pixels, right and bottom exclusive; need not lie inside the image."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Rect) -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )


def image_scale(image: ImageArray) -> float:
    """The side, in pixels, of a square with the image's area."""
    return math.sqrt(image.shape[0] * image.shape[1])


def text_size(image: ImageArray) -> int:
    """The size of text that is readable on an image, in pixels."""
    return max(11, round(image_scale(image) * 0.021))


def text_width(text: str, size: int) -> int:
    """The extent of the text in pixels at this size (pixels per em)."""
    if _FONT is not None:
        return int(cv2.getTextSize((0, 0), text, (0, 0), _FONT, size, _WEIGHT)[2])
    return int(cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, size / 30, _stroke(size))[0][0])


def draw_text(image: ImageArray, text: str, left: float, baseline: float, size: int, color: Color) -> None:
    place = (round(left), round(baseline))
    if _FONT is not None:
        cv2.putText(image, text, place, color, _FONT, size, _WEIGHT)
    else:
        cv2.putText(image, text, place, cv2.FONT_HERSHEY_DUPLEX, size / 30, color, _stroke(size), cv2.LINE_AA)


def fit_text(text: str, size: int, width: float) -> str:
    """The text, truncated with an ellipsis to this width."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(text.rstrip() + "...", size) > width:
        text = text[:-1]
    return text.rstrip() + "..."


def fill_rounded(image: ImageArray, rect: Rect, color: Color, radius: float, opacity: float = 1.0) -> None:
    _blend(image, rect, color, radius, opacity, thickness=0)


def outline_rounded(
    image: ImageArray, rect: Rect, color: Color, radius: float, thickness: int, opacity: float = 1.0
) -> None:
    """Draw a line centered on the edge of ``rect``."""
    _blend(image, rect, color, radius, opacity, thickness)


def _blend(image: ImageArray, rect: Rect, color: Color, radius: float, opacity: float, thickness: int) -> None:
    """Draw the shape as a mask over the affected region, then blend the color in."""
    height, width = image.shape[:2]
    left, top = max(math.floor(rect.left) - thickness - 1, 0), max(math.floor(rect.top) - thickness - 1, 0)
    right, bottom = (
        min(math.ceil(rect.right) + thickness + 1, width),
        min(math.ceil(rect.bottom) + thickness + 1, height),
    )
    if right <= left or bottom <= top:
        return
    part = image[top:bottom, left:right]
    mask = np.zeros(part.shape[:2], np.uint8)
    points = _rounded_points(rect, radius) - np.array([left, top])
    fixed = np.round(points * (1 << _SHIFT)).astype(np.int32)
    if thickness:
        cv2.polylines(mask, [fixed], True, 255, thickness, cv2.LINE_AA, _SHIFT)
    else:
        cv2.fillPoly(mask, [fixed], 255, cv2.LINE_AA, _SHIFT)
    touched = mask > 0
    weight = mask[touched, None] * np.float32(opacity / 255)
    part[touched] = np.round(part[touched] + (np.array(color, np.float32) - part[touched]) * weight).astype(np.uint8)


def _rounded_points(rect: Rect, radius: float) -> NDArray[np.float64]:
    """float64 [n, 2], x y, of a closed path. Pixel centers are integers, so the last is ``right - 1``."""
    left, top, right, bottom = rect.left, rect.top, max(rect.right - 1, rect.left), max(rect.bottom - 1, rect.top)
    radius = min(radius, (right - left) / 2, (bottom - top) / 2)
    turn = np.linspace(0, np.pi / 2, 8)
    corners = [
        (right - radius, bottom - radius, 0),
        (left + radius, bottom - radius, 1),
        (left + radius, top + radius, 2),
        (right - radius, top + radius, 3),
    ]
    return np.concatenate(
        [
            np.stack(
                (x + radius * np.cos(turn + quarter * np.pi / 2), y + radius * np.sin(turn + quarter * np.pi / 2)), 1
            )
            for x, y, quarter in corners
        ]
    )


def _stroke(size: int) -> int:
    return max(1, round(size / 18))
