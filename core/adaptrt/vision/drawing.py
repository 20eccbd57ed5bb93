"""Predictions drawn onto their image: boxes with labels, or the likeliest classes as bars."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from adaptrt.predictions import Classification, Detections
from adaptrt.vision.canvas import Rect, draw_text, fill_rounded, fit_text, outline_rounded, text_width
from adaptrt.vision.colors import DARK, LIGHT, class_color, text_color

if TYPE_CHECKING:
    from adaptrt.predictions import Predictions
    from adaptrt.vision.images import ImageArray


def draw_predictions(image: ImageArray, predictions: Predictions) -> ImageArray:
    """A copy of the image, uint8 [H, W, 3] RGB, with the predictions on it. ``Values`` leave it as it is."""
    drawn: ImageArray = image.copy()
    if isinstance(predictions, Detections):
        _draw_detections(drawn, predictions)
    elif isinstance(predictions, Classification):
        _draw_classes(drawn, predictions)
    return drawn


def _draw_detections(image: ImageArray, detections: Detections) -> None:
    line = max(2, round(_scale(image) * 0.0035))
    boxes = [Rect(*map(float, box)) for box in detections.boxes]
    edges = [
        Rect(box.left - line / 2, box.top - line / 2, box.right + line / 2, box.bottom + line / 2) for box in boxes
    ]
    for index in reversed(range(len(boxes))):  # the best comes last, on top
        outline_rounded(image, boxes[index], DARK, 2 * line, line + 2, opacity=0.45)
        outline_rounded(image, boxes[index], class_color(int(detections.labels[index])), 2 * line, line)
    chips: list[Rect] = []
    for index, edge in enumerate(edges):
        chips.append(_place_chip(image, edge, _chip_text(detections, index), chips))
    for index in reversed(range(len(boxes))):
        _draw_chip(image, chips[index], _chip_text(detections, index), int(detections.labels[index]))


def _chip_text(detections: Detections, index: int) -> str:
    return f"{detections.name(index)} {detections.scores[index]:.2f}"


def _place_chip(image: ImageArray, box: Rect, text: str, taken: list[Rect]) -> Rect:
    """Above the box if there is room, else inside, below or at its right: the first place that hides no other chip."""
    size = _text_size(image)
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
    size, color = _text_size(image), class_color(label)
    fill_rounded(image, chip, color, size * 0.3)
    draw_text(image, text, chip.left + size / 2, chip.bottom - size * 0.47, size, text_color(color))


def _draw_classes(image: ImageArray, classes: Classification) -> None:
    """A panel in the upper left corner with a row for each class: name, bar and percentage."""
    size = _text_size(image)
    margin, row = round(size * 0.7), round(size * 2.1)
    names = [classes.name(index) for index in range(len(classes))]
    percent_width = text_width("100.0%", size)
    wanted = max((text_width(name, size) for name in names), default=0) + percent_width + 2 * margin
    width = min(max(wanted, 14 * size), image.shape[1] - 4 * margin)
    panel = Rect(margin, margin, 3 * margin + width, margin + len(names) * row + 1.5 * margin)
    fill_rounded(image, panel, DARK, size * 0.5, opacity=0.72)
    left, right = panel.left + margin, panel.right - margin
    for index, name in enumerate(names):
        baseline = panel.top + margin + index * row + size * 0.8
        score, percent = float(classes.scores[index]), f"{classes.scores[index]:.1%}"
        draw_text(image, fit_text(name, size, width - percent_width - margin), left, baseline, size, LIGHT)
        draw_text(image, percent, right - text_width(percent, size), baseline, size, LIGHT)
        bar = Rect(left, baseline + size * 0.4, right, baseline + size * 0.4 + max(3, round(size * 0.3)))
        fill_rounded(image, bar, LIGHT, size, opacity=0.22)
        filled = bar._replace(right=left + (right - left) * min(max(score, 0.0), 1.0))
        if filled.right - filled.left >= 1:
            fill_rounded(image, filled, class_color(int(classes.labels[index])), size)


def _scale(image: ImageArray) -> float:
    """The side, in pixels, of a square of the image's area."""
    return math.sqrt(image.shape[0] * image.shape[1])


def _text_size(image: ImageArray) -> int:
    return max(11, round(_scale(image) * 0.021))
