"""Where a network's outputs hold boxes and scores, for NMS inside the graph."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """The numbers ``start:stop`` of each box in an output [B, N, C], or [B, C, N] if ``channels_first``."""

    output: str
    start: int = 0
    stop: int | None = None
    channels_first: bool = False


@dataclass(frozen=True)
class BoxLayout:
    """The boxes of a network in input pixels, and their scores between 0 and 1.

    - ``boxes``: four numbers, x1 y1 x2 y2, or cx cy w h if ``centers``
    - ``scores``: one for each class
    - ``objectness``: a factor of all scores of a box, if the network has one
    - ``multi_label``: a box may have several classes; else only the best one counts
    """

    boxes: Part
    scores: Part
    objectness: Part | None = None
    centers: bool = False
    multi_label: bool = False
