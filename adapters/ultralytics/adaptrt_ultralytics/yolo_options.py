"""``--set key=value`` of adapter ``yolo``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class YoloOptions:
    """Options for networks with two heads.

    - ``end2end``: export the end-to-end head of YOLOv10 and YOLO26, [B, 300, 6], which needs no NMS, or with ``false`` the
      other head, [B, 4 + nc, N]. Default: the end-to-end head, if there is one
    """

    INPUTS: ClassVar[tuple[str, ...]] = ("images",)

    end2end: bool | None = None
