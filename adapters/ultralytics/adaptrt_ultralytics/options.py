"""``--set key=value`` of adapter ``yolov5``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from adaptrt import UsageError


@dataclass(frozen=True)
class Yolov5Options:
    """Options for classic checkpoints.

    - ``repo``: a checkout of the repository that trained it (``ultralytics/yolov5`` or a fork). Its code is executed, and
      link 0 compares the rebuilt network with it. Default: the package ``yolov5``, if it is installed
    """

    INPUTS: ClassVar[tuple[str, ...]] = ("images",)

    repo: str | None = None

    def __post_init__(self) -> None:
        if self.repo is not None and not (Path(self.repo) / "models" / "yolo.py").is_file():
            raise UsageError(
                f"repo={self.repo} is not a checkout of a YOLOv5 repository: it has no models/yolo.py.",
                hint="Specify its top-level folder: --set repo=PATH",
            )
