"""Draws classes as colors over the image, with a legend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adaptrt.vision.canvas import Rect, draw_text, fill_rounded, fit_text, image_scale, text_size, text_width
from adaptrt.vision.colors import DARK, LIGHT, class_color
from adaptrt.vision.opencv import cv2

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from adaptrt.predictions import SemanticMap
    from adaptrt.vision.images import ImageArray

ROWS = 8  # maximum number of legend entries
_OPACITY = 0.55
_UNCOLORED = frozenset({"background", "__background__", "unlabeled", "void"})


def draw_classes(image: ImageArray, prediction: SemanticMap) -> ImageArray:
    """A copy with each class in its color, except a class named background."""
    labels: NDArray[Any] = prediction.labels
    if labels.shape != image.shape[:2]:
        labels = cv2.resize(labels, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    areas = prediction.areas()
    colored = [label for label in areas if prediction.name(label).casefold() not in _UNCOLORED]
    drawn: ImageArray = image.copy()
    for label in colored:
        where = labels == label
        drawn[where] = np.round((1 - _OPACITY) * image[where] + _OPACITY * np.array(class_color(label))).astype(
            np.uint8
        )
    _draw_edges(drawn, labels)
    _draw_legend(drawn, prediction, {label: areas[label] / prediction.labels.size for label in areas}, colored)
    return drawn


def _draw_edges(image: ImageArray, labels: NDArray[Any]) -> None:
    """Draw a light line along the boundaries between classes."""
    edges = np.zeros(labels.shape, np.uint8)
    edges[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edges[1:] |= labels[1:] != labels[:-1]
    width = round(image_scale(image) * 0.002)
    if width > 1:
        edges = cv2.dilate(edges, np.ones((width, width), np.uint8))
    where = edges > 0
    image[where] = np.round(0.35 * image[where] + 0.65 * np.array(LIGHT)).astype(np.uint8)


def _draw_legend(image: ImageArray, prediction: SemanticMap, shares: dict[int, float], colored: list[int]) -> None:
    """Draw a panel in the upper left corner with a row per class, the largest first: color, name and share."""
    size = text_size(image)
    margin, row = round(size * 0.7), round(size * 1.6)
    rows = min(ROWS, int((image.shape[0] / 2 - 2.5 * margin) / row))
    if rows < 1:
        return
    shown = list(shares)[:rows]
    rest = [f"{len(shares) - rows} more"] if len(shares) > rows else []
    percent = text_width("100.0%", size)
    longest = max(text_width(text, size) for text in [*(prediction.name(label) for label in shown), *rest])
    width = min(2 * size + longest + percent + margin, image.shape[1] - 4 * margin)
    height = (len(shown) + len(rest)) * row + margin
    panel = Rect(margin, margin, 3 * margin + width, 1.5 * margin + height)
    if (panel.right - panel.left) * (panel.bottom - panel.top) > image.shape[0] * image.shape[1] / 4:
        return  # the legend would hide most of the image
    fill_rounded(image, panel, DARK, size * 0.5, opacity=0.72)
    left, right, top = panel.left + margin, panel.right - margin, panel.top + margin
    for index, label in enumerate(shown):
        baseline = top + index * row + size * 0.85
        if label in colored:
            swatch = Rect(left, baseline - size * 0.8, left + size, baseline + size * 0.2)
            fill_rounded(image, swatch, class_color(label), size * 0.25)
        text, share = prediction.name(label), f"{shares[label]:.1%}"
        name = fit_text(text, size, right - left - 1.6 * size - percent - margin / 2)
        draw_text(image, name, left + 1.6 * size, baseline, size, LIGHT)
        draw_text(image, share, right - text_width(share, size), baseline, size, LIGHT)
    for text in rest:
        draw_text(image, text, left + 1.6 * size, top + len(shown) * row + size * 0.85, size, LIGHT)
