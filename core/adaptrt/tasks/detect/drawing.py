"""Boxes with labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptrt.vision.canvas import Rect, draw_text, fill_rounded, image_scale, outline_rounded, text_size, text_width
from adaptrt.vision.colors import DARK, class_color, text_color

if TYPE_CHECKING:
    from adaptrt.predictions import Detections
    from adaptrt.vision.images import ImageArray


def draw_detections(image: ImageArray, detections: Detections) -> None:
    """Draw onto the image, in place."""
    line = max(2, round(image_scale(image) * 0.0035))
    boxes = [Rect(*map(float, box)) for box in detections.boxes]
    edges = [
        Rect(box.left - line / 2, box.top - line / 2, box.right + line / 2, box.bottom + line / 2) for box in boxes
    ]
    for index in reversed(range(len(boxes))):  # the best is drawn last, on top
        outline_rounded(image, boxes[index], DARK, 2 * line, line + 2, opacity=0.45)
        outline_rounded(image, boxes[index], class_color(int(detections.labels[index])), 2 * line, line)
    _draw_chips(image, detections, edges)


def draw_labels(image: ImageArray, detections: Detections) -> None:
    """The labels alone, where they would be at the boxes."""
    _draw_chips(image, detections, [Rect(*map(float, box)) for box in detections.boxes])


def _draw_chips(image: ImageArray, detections: Detections, edges: list[Rect]) -> None:
    chips: list[Rect] = []
    for index, edge in enumerate(edges):
        chips.append(_place_chip(image, edge, _chip_text(detections, index), chips))
    for index in reversed(range(len(edges))):
        _draw_chip(image, chips[index], _chip_text(detections, index), int(detections.labels[index]))


def _chip_text(detections: Detections, index: int) -> str:
    return f"{detections.name(index)} {detections.scores[index]:.2f}"


def _place_chip(image: ImageArray, box: Rect, text: str, taken: list[Rect]) -> Rect:
    """Above the box if possible, else inside, below or right of it: the first position that does not hide another chip."""
    size = text_size(image)
    width, height = text_width(text, size) + size, round(size * 1.55)
    tops = (box.top - height, box.top, box.bottom - height, box.bottom)
    places = [_inside(image, left, top, width, height) for left in (box.left, box.right - width) for top in tops]
    fitting = [place for place, top in zip(places, 2 * tops, strict=True) if place.top == round(top)] or places
    free = (place for place in fitting if not any(place.overlaps(other) for other in taken))
    return next(free, fitting[0])


def _inside(image: ImageArray, left: float, top: float, width: int, height: int) -> Rect:
    left = max(0, min(round(left), image.shape[1] - width))
    top = max(0, min(round(top), image.shape[0] - height))
    return Rect(left, top, left + width, top + height)


def _draw_chip(image: ImageArray, chip: Rect, text: str, label: int) -> None:
    size, color = text_size(image), class_color(label)
    fill_rounded(image, chip, color, size * 0.3)
    draw_text(image, text, chip.left + size / 2, chip.bottom - size * 0.47, size, text_color(color))
