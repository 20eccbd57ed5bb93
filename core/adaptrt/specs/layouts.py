"""Where a network's outputs hold boxes and scores, for NMS inside the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Part:
    """The numbers ``start:stop`` of each box in an output [B, N, C], or [B, C, N] if ``channels_first``."""

    output: str
    start: int = 0
    stop: int | None = None
    channels_first: bool = False


@dataclass(frozen=True)
class Extra:
    """Further numbers of each box: ``part`` of an output of the network becomes ``output`` [B, M, E] of the graph with NMS.

    ``name`` is that of the candidates' extra in numpy, whose first axis is the box.
    """

    name: str
    output: str
    part: Part


@dataclass(frozen=True)
class BoxLayout:
    """The boxes of a network in input pixels, and their scores between 0 and 1.

    - ``boxes``: four numbers, x1 y1 x2 y2, or cx cy w h if ``centers``
    - ``scores``: one for each class
    - ``objectness``: a factor of all scores of a box, if the network has one
    - ``multi_label``: a box may have several classes; else only the best one counts
    - ``angle``: of rotated boxes, in radians; their NMS is ``adaptrt.vision.rotated.rotated_nms_by_class``
    - ``extras``: numbers that go with their box through NMS
    - ``kept``: outputs of the network that stay outputs, such as the prototypes of masks
    - ``decoder``, ``params``: that reads the graph with NMS, and its parameters beyond the thresholds
    - ``clip``: what the decoder clips upright boxes to before NMS: nothing, the whole ``input``, or the ``image`` in it without padding. A
      graph knows only the size of its input, and clips to that
    - ``drop_empty``: upright boxes without area (after ``clip``) are not candidates
    """

    boxes: Part
    scores: Part
    objectness: Part | None = None
    centers: bool = False
    multi_label: bool = False
    angle: Part | None = None
    extras: tuple[Extra, ...] = ()
    kept: tuple[str, ...] = ()
    decoder: str = "efficient_nms"
    params: Mapping[str, Any] = field(default_factory=dict)
    clip: Literal["nothing", "input", "image"] = "nothing"
    drop_empty: bool = False

    @property
    def parts(self) -> tuple[Part, ...]:
        """Everything that NMS reads."""
        found = (self.boxes, self.scores, self.objectness, self.angle, *(extra.part for extra in self.extras))
        return tuple(part for part in found if part is not None)


@dataclass(frozen=True)
class BoxFilter:
    """Boxes of which no score is above ``conf`` are not needed.

    ``iou``: neither are those that a better one of their class overlaps by more than this, compared as in ``adaptrt.vision.nms`` after
    boxes are moved by ``offset`` pixels for each class; and of the others, only the ``max_det`` best. A runner may return them.
    ``classes``: how many the spec names; 0 if none. A runner returns outputs with another number of classes whole.
    """

    layout: BoxLayout
    conf: float
    iou: float | None = None
    offset: float = 0.0
    max_det: int | None = None
    classes: int = 0
