"""How NMS is appended to a graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ImageAxes:
    """An input of the graph, and its axes of height and width, counted from the end (negative)."""

    input: str
    height: int
    width: int


@dataclass(frozen=True, kw_only=True)
class NmsPlan:
    """What is appended to a graph.

    ``candidates`` with the best scores are compared (fewer if the network has fewer), ``max_det`` are kept. ``iou`` is
    exact in float32 (``adaptrt.vision.nms.largest_float32_up_to``). ``class_offset`` separates classes as in ``adaptrt.vision.decoders.select``. ``converged``: write the output ``nms_converged``.
    ``clip``: the image input, whose height and width boxes are clipped to before NMS; ``drop_empty``: boxes without area are not
    candidates.
    """

    kind: Literal["cluster", "onnx", "efficient"] = "cluster"
    conf: float
    iou: float
    max_det: int
    candidates: int
    rounds: int
    agnostic: bool
    multi_label: bool
    class_offset: float | None
    classes: tuple[int, ...] | None = None
    converged: bool = True
    clip: ImageAxes | None = None
    drop_empty: bool = False

    @property
    def adjusts_boxes(self) -> bool:
        """Whether all boxes are decoded and changed before the best ones are selected."""
        return self.clip is not None or self.drop_empty
