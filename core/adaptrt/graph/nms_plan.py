"""How NMS is appended to a graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class NmsPlan:
    """What is appended to a graph.

    ``candidates`` with the best scores are compared (fewer if the network has fewer), ``max_det`` are kept. ``iou`` is
    exact in float32 (``adaptrt.vision.nms.largest_float32_up_to``). ``class_offset`` separates classes as in ``adaptrt.vision.decoders.select``. ``converged``: write the output ``nms_converged``.
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
