"""Draws the most likely classes as bars in a panel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptrt.vision.canvas import Rect, draw_text, fill_rounded, fit_text, text_size, text_width
from adaptrt.vision.colors import DARK, LIGHT, class_color

if TYPE_CHECKING:
    from adaptrt.predictions import Classification
    from adaptrt.vision.images import ImageArray


def draw_classes(image: ImageArray, classes: Classification) -> None:
    """Draw a panel in the upper left corner, in place, with a row per class: name, bar and percentage."""
    size = text_size(image)
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
