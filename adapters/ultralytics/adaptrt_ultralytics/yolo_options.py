"""``--set key=value`` of adapter ``yolo``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class YoloOptions:
    """What is exported of a network that has two heads.

    - ``end2end``: the end-to-end head of YOLOv10 and YOLO26, [B, 300, 6], which needs no NMS; ``false`` takes the other
      one, [B, 4 + nc, N]. By default the end-to-end head where there is one
    """

    INPUTS: ClassVar[tuple[str, ...]] = ("images",)

    end2end: bool | None = None
