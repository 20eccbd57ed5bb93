"""``--set key=value`` of adapter ``yolov5``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from adaptrt import UsageError


@dataclass(frozen=True)
class Yolov5Options:
    """What the adapter can be told about a classic checkpoint.

    - ``repo``: a checkout of the repository that trained it (``ultralytics/yolov5`` or a fork). Its code runs, and link 0
      compares the rebuilt network with it. Without it the installed package ``yolov5`` is used, if there is one
    """

    INPUTS: ClassVar[tuple[str, ...]] = ("images",)

    repo: str | None = None

    def __post_init__(self) -> None:
        if self.repo is not None and not (Path(self.repo) / "models" / "yolo.py").is_file():
            raise UsageError(
                f"repo={self.repo} is not a checkout of a YOLOv5 repository: it has no models/yolo.py.",
                hint="Specify its top-level folder: --set repo=PATH",
            )
